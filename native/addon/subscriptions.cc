// See subscriptions.h.
#include "subscriptions.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <vector>

#include "../front/protocol.h"

namespace muster {

namespace {

constexpr size_t kRecordsPerPacket = 2048;

} // namespace

Told tell(Subscription *subscription) {
  while (!subscription->dirty.empty()) {
    std::vector<uint8_t> packet(sizeof(uint32_t));
    const uint32_t type = FRONT_GREW;
    memcpy(packet.data(), &type, sizeof type);
    size_t count = 0;
    auto entry = subscription->dirty.begin();
    for (; entry != subscription->dirty.end() && count < kRecordsPerPacket; ++entry, ++count) {
      const auto *bytes = reinterpret_cast<const uint8_t *>(&entry->second);
      packet.insert(packet.end(), bytes, bytes + sizeof(Growth));
    }
    ssize_t sent;
    do sent = send(subscription->fd, packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0) return errno == EAGAIN || errno == ENOBUFS ? Told::kFull : Told::kGone;
    subscription->dirty.erase(subscription->dirty.begin(), entry);
  }
  subscription->urgent = false;
  return Told::kAll;
}

} // namespace muster
