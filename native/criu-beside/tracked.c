/* See beside.h. CRIU asks twice for the connections that the packet filter tracks in the sandbox's network namespace, which the kernel finds
 * by looking through those of the whole machine: the most that is done of it that has nothing to do with the sandbox. In a network of the
 * job's own none is tracked, and whoever else's the namespace is has them. So the kernel is asked to do nothing, and says that it is done.
 */
#include "beside.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int get_tracked = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;

EXPORTED ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  struct nlmsghdr request;
  const struct sockaddr *to = message->msg_name;
  bool may_be = to && message->msg_namelen >= sizeof to->sa_family && to->sa_family == AF_NETLINK && message->msg_iovlen == 1 &&
                message->msg_iov->iov_len == sizeof request + sizeof(struct nfgenmsg);
  if (!may_be) return syscall(SYS_sendmsg, fd, message, flags);
  memcpy(&request, message->msg_iov->iov_base, sizeof request);
  if (request.nlmsg_type != get_tracked || (request.nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
    return syscall(SYS_sendmsg, fd, message, flags);
  request.nlmsg_len = sizeof request;
  request.nlmsg_type = NLMSG_NOOP;
  request.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  struct iovec nothing = {&request, sizeof request};
  struct msghdr instead = *message;
  instead.msg_iov = &nothing;
  ssize_t sent = syscall(SYS_sendmsg, fd, &instead, flags);
  return sent < 0 ? sent : (ssize_t)message->msg_iov->iov_len;
}
