// One stream's way from a pipe (or a terminal's master) into its segment files. From a pipe the bytes go by splice(2) at an
// explicit offset, so that at any instruction they are either still in the pipe or in the file, never in between; a terminal
// cannot be spliced and is read and written. A segment `<name>.<20 digits: its first offset>` is made when there is a byte
// for it. What cannot be written stays where it is.
#ifndef MUSTER_ADDON_SEGMENT_WRITER_H
#define MUSTER_ADDON_SEGMENT_WRITER_H

#include <stdint.h>

#include <string>
#include <vector>

namespace muster {

struct Moved {
  uint64_t bytes;
  bool ended;
  int error; // errno; 0 with bytes 0: nothing there now
};

class SegmentWriter {
public:
  // Takes `fd`. `length` bytes are in earlier segments.
  SegmentWriter(int fd, const std::string &prefix, uint64_t length, uint64_t segmentBytes);
  ~SegmentWriter();
  SegmentWriter(const SegmentWriter &) = delete;
  SegmentWriter &operator=(const SegmentWriter &) = delete;

  // Moves at most 256 KiB and `most`, which is not 0; never waits for the rank.
  Moved move(uint64_t most);
  uint64_t length() const { return length_; }
  int fd() const { return fd_; }
  bool isPipe() const { return pipe_; }

private:
  Moved splicePipe(uint64_t most);
  Moved copyTerminal(uint64_t most);
  int prepareSegment();
  uint64_t room() const { return segmentBytes_ - (length_ - first_); }

  int fd_;
  bool pipe_;
  std::string prefix_;
  uint64_t length_;
  uint64_t segmentBytes_;
  int file_ = -1;
  uint64_t first_ = 0;        // offset at which the open segment starts
  std::vector<uint8_t> kept_; // read from a terminal, not yet written
};

} // namespace muster

#endif
