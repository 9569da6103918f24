/* See copies.h. */
#include "copies.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t end_of(const struct copy *copy) { return copy->address + copy->bytes; }

int copies_add(struct copies *copies, struct copy copy) {
  if (copies->count > 0) {
    struct copy *last = &copies->all[copies->count - 1];
    if (last->pid == copy.pid && end_of(last) == copy.address && last->offset + last->bytes == copy.offset) {
      last->bytes += copy.bytes;
      return 0;
    }
  }
  if (copies->count == copies->room) {
    size_t room = copies->room ? copies->room * 2 : 256;
    struct copy *all = realloc(copies->all, room * sizeof *all);
    if (!all) return -ENOMEM;
    copies->all = all;
    copies->room = room;
  }
  copies->all[copies->count++] = copy;
  return 0;
}

/* The part of it in the range, if there is any. */
static int add_part(struct copies *to, struct copy copy, uint64_t start, uint64_t end) {
  if (start < copy.address) start = copy.address;
  if (end > end_of(&copy)) end = end_of(&copy);
  if (start >= end) return 0;
  copy.offset += start - copy.address;
  copy.address = start;
  copy.bytes = end - start;
  return copies_add(to, copy);
}

int copies_overlay(struct copies *copies, const struct copies *newer) {
  struct copies merged = {0};
  size_t old = 0;
  uint64_t from = 0; /* of what was there before, what is left over */
  for (size_t i = 0; i <= newer->count; i++) {
    uint64_t start = i < newer->count ? newer->all[i].address : UINT64_MAX;
    for (; old < copies->count && copies->all[old].address < start; old++) {
      if (add_part(&merged, copies->all[old], from, start) < 0) goto fail;
      if (end_of(&copies->all[old]) > start) break; /* the rest of it may be needed yet */
    }
    if (i == newer->count) break;
    if (copies_add(&merged, newer->all[i]) < 0) goto fail;
    from = end_of(&newer->all[i]);
    while (old < copies->count && end_of(&copies->all[old]) <= from) old++;
  }
  free(copies->all);
  *copies = merged;
  return 0;
fail:
  free(merged.all);
  return -ENOMEM;
}

int copies_gaps(const struct copies *copies, uint64_t start, uint64_t end, struct spans *gaps) {
  size_t low = 0, high = copies->count; /* the first that ends after the start */
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (end_of(&copies->all[middle]) <= start) low = middle + 1;
    else high = middle;
  }
  for (; start < end; low++) {
    uint64_t next = low < copies->count ? copies->all[low].address : UINT64_MAX;
    if (next > start && spans_add(gaps, start, next < end ? next : end) < 0) return -ENOMEM;
    if (next >= end) return 0;
    start = end_of(&copies->all[low]);
  }
  return 0;
}
