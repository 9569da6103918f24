// See segment-writer.h.
#include "segment-writer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace muster {

namespace {

constexpr uint64_t kMoveBytes = 1u << 18;
// Of one splice, which also ends at a multiple of it. A larger write gets page-cache pages in larger blocks. Those are dear:
// they are searched for, and in a virtual machine that gives its free blocks back the host has to bring them anew.
constexpr uint64_t kSpliceBytes = 1u << 16;
constexpr size_t kTerminalBytes = 65536;

} // namespace

SegmentWriter::SegmentWriter(int fd, const std::string &prefix, uint64_t length, uint64_t segmentBytes)
    : fd_(fd), prefix_(prefix), length_(length), segmentBytes_(segmentBytes) {
  struct stat status;
  pipe_ = fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
  if (!pipe_) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

SegmentWriter::~SegmentWriter() {
  close(fd_);
  if (file_ >= 0) close(file_);
}

Moved SegmentWriter::move(uint64_t most) { return pipe_ ? splicePipe(most) : copyTerminal(most); }

int SegmentWriter::prepareSegment() {
  if (file_ >= 0 && room() > 0) return 0;
  char offset[24];
  snprintf(offset, sizeof offset, ".%020llu", static_cast<unsigned long long>(length_));
  int file = open((prefix_ + offset).c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) return errno;
  struct stat status;
  // Empty: made by one who was killed before the first byte. Anything else is not ours to write over.
  int error = fstat(file, &status) != 0 ? errno : !S_ISREG(status.st_mode) || status.st_size != 0 ? EEXIST : 0;
  if (error) {
    close(file);
    return error;
  }
  if (file_ >= 0) close(file_);
  file_ = file;
  first_ = length_;
  return 0;
}

Moved SegmentWriter::splicePipe(uint64_t most) {
  if (file_ < 0 || room() == 0) {
    int waiting = 0;
    if (ioctl(fd_, FIONREAD, &waiting) != 0) return {0, false, errno};
    if (waiting == 0) {
      struct pollfd end = {fd_, POLLIN, 0};
      poll(&end, 1, 0);
      return {0, (end.revents & (POLLHUP | POLLIN)) == POLLHUP, 0};
    }
    int error = prepareSegment();
    if (error) return {0, false, error};
  }
  uint64_t moved = 0;
  most = std::min(most, kMoveBytes);
  while (moved < most && room() > 0) {
    loff_t at = static_cast<loff_t>(length_ - first_);
    uint64_t piece = kSpliceBytes - (static_cast<uint64_t>(at) & (kSpliceBytes - 1));
    uint64_t wanted = std::min({room(), piece, most - moved});
    ssize_t count = splice(fd_, nullptr, file_, &at, wanted, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return {moved, false, errno == EAGAIN ? 0 : errno};
    // An end is told when there was nothing before it.
    if (count == 0) return {moved, moved == 0, 0};
    length_ += static_cast<uint64_t>(count);
    moved += static_cast<uint64_t>(count);
    if (static_cast<uint64_t>(count) < wanted) break;
  }
  return {moved, false, 0};
}

Moved SegmentWriter::copyTerminal(uint64_t most) {
  if (kept_.empty()) {
    kept_.resize(std::min<uint64_t>(kTerminalBytes, most));
    ssize_t count;
    do count = read(fd_, kept_.data(), kept_.size());
    while (count < 0 && errno == EINTR);
    int error = count < 0 ? errno : 0;
    kept_.resize(count > 0 ? static_cast<size_t>(count) : 0);
    if (error == EAGAIN) return {0, false, 0};
    // EIO is how a terminal's master says that the last one has closed the other side.
    if (count == 0 || error == EIO) return {0, true, 0};
    if (error) return {0, false, error};
  }
  uint64_t moved = 0;
  while (!kept_.empty()) {
    int error = prepareSegment();
    if (error) return {moved, false, error};
    ssize_t count = pwrite(file_, kept_.data(), std::min<uint64_t>(kept_.size(), room()), static_cast<off_t>(length_ - first_));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return {moved, false, count < 0 ? errno : ENOSPC};
    kept_.erase(kept_.begin(), kept_.begin() + count);
    length_ += static_cast<uint64_t>(count);
    moved += static_cast<uint64_t>(count);
  }
  return {moved, false, 0};
}

} // namespace muster
