// Fronts that are told of growth straight from the pump's thread, without a turn of the main loop. A front whose queue is
// full is remembered with the newest length of each stream, and told when there is room: it slows nobody and misses nothing.
// All calls under the pump's lock; what a stream is, this does not know.
#ifndef MUSTER_ADDON_SUBSCRIPTIONS_H
#define MUSTER_ADDON_SUBSCRIPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include <unordered_map>
#include <unordered_set>

namespace muster {

// As native/front/protocol.h: a u32 FRONT_GREW, then these.
struct Growth {
  uint32_t id;
  uint32_t flags;
  uint64_t length;
};

struct Subscription {
  int fd = -1;
  bool waiting = false; // for room in the queue
  uint64_t lastNs = 0;
  bool urgent = false;
  std::unordered_set<uint32_t> ids;
  std::unordered_map<uint32_t, Growth> dirty;
};

enum class Told { kAll, kFull, kGone };

// Sends what is dirty; afterwards `dirty` holds what could not be sent.
Told tell(Subscription *subscription);

} // namespace muster

#endif
