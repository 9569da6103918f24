// Ranges of files between two processes, over one connection of mutual TLS, moved by a thread of its own: megabytes a turn, without a
// word of JavaScript between them. What is asked for is done one after the other, in that order; whoever receives asks for what the
// other sends, as they have agreed elsewhere. After the first failure everything fails. Who may be at the other end is told by name:
// of the server to connect to, of the client whose connection is accepted. It knows no files but their descriptors.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "call.h"
#include "functions.h"
#include "instance.h"
#include "openssl.h"

namespace muster {

namespace {

constexpr size_t kStackBytes = 512 * 1024;
constexpr size_t kBufferBytes = 1u << 20;

enum class What { kAccept, kConnect, kSend, kReceive, kRelay };

struct Errand {
  uint32_t id;
  What what;
  std::string name; // of the other side
  std::string host;
  uint32_t port = 0;
  int fd = -1;
  uint64_t offset = 0, length = 0;
  std::vector<uint8_t> first; // goes ahead of what is received
};

struct Outcome {
  uint32_t id;
  int error;
  std::string words;
};

struct Ended {
  int error = 0;
  std::string words;
};

Ended failed(const char *call, int error) { return {error, std::string(call) + ": " + strerror(error)}; }

Ended tlsFailed(const char *call, int otherwise) {
  char words[200] = "";
  unsigned long error = ERR_get_error();
  if (error == 0) return failed(call, otherwise == EAGAIN ? ETIMEDOUT : otherwise ? otherwise : ECONNRESET);
  ERR_error_string_n(error, words, sizeof words);
  ERR_clear_error();
  return {EPROTO, std::string(call) + ": " + words};
}

SSL_CTX *contextOf(const std::string &ca, const std::string &cert, const std::string &key) {
  SSL_CTX *context = SSL_CTX_new(TLS_method());
  if (!context) return nullptr;
  auto certificate = [](const std::string &pem) {
    BIO *bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
    X509 *read = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    return read;
  };
  X509 *authority = certificate(ca), *own = certificate(cert);
  BIO *bio = BIO_new_mem_buf(key.data(), static_cast<int>(key.size()));
  EVP_PKEY *secret = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  bool good = authority && own && secret && SSL_CTX_use_certificate(context, own) == 1 &&
              SSL_CTX_use_PrivateKey(context, secret) == 1 &&
              X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority) == 1 &&
              SSL_CTX_ctrl(context, kSslCtrlSetMinProtoVersion, kTls13, nullptr) == 1;
  SSL_CTX_set_verify(context, kSslVerifyPeer | kSslVerifyFailIfNoPeerCert, nullptr);
  if (authority) X509_free(authority);
  if (own) X509_free(own);
  if (secret) EVP_PKEY_free(secret);
  if (good) return context;
  ERR_clear_error();
  SSL_CTX_free(context);
  return nullptr;
}

bool isNamed(SSL *ssl, const std::string &name) {
  X509 *peer = SSL_get1_peer_certificate(ssl);
  if (!peer) return false;
  char common[256] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(peer), kNidCommonName, common, sizeof common);
  X509_free(peer);
  return name == common;
}

class Link : public Object {
public:
  Link(Instance *instance, SSL_CTX *context, int silentMs) : Object(instance), context_(context), silentMs_(silentMs) {}
  ~Link() override {
    shutdown();
    SSL_CTX_free(context_);
  }

  int start() {
    bell_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell_ < 0) return errno;
    wake_ = Wake::open(instance, this, [](void *self) { static_cast<Link *>(self)->deliver(); });
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kStackBytes);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(
        &thread_, &attributes,
        [](void *self) -> void * {
          static_cast<Link *>(self)->run();
          return nullptr;
        },
        this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
    running_ = error == 0;
    return error;
  }

  // The port, or an errno with its sign turned.
  int listen(const std::string &host) {
    struct addrinfo hints = {}, *found = nullptr;
    hints.ai_flags = AI_NUMERICHOST | AI_PASSIVE;
    hints.ai_socktype = SOCK_STREAM;
    if (listener_ >= 0 || getaddrinfo(host.c_str(), "0", &hints, &found) != 0) return -EINVAL;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool good = fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0 && ::listen(fd, 4) == 0;
    int error = errno;
    freeaddrinfo(found);
    struct sockaddr_storage own = {};
    socklen_t length = sizeof own;
    if (!good || getsockname(fd, reinterpret_cast<struct sockaddr *>(&own), &length) != 0) {
      if (fd >= 0) close(fd);
      return -(error ? error : EINVAL);
    }
    listener_ = fd;
    return ntohs(own.ss_family == AF_INET6 ? reinterpret_cast<struct sockaddr_in6 *>(&own)->sin6_port
                                           : reinterpret_cast<struct sockaddr_in *>(&own)->sin_port);
  }

  void ask(Errand &&errand) {
    std::lock_guard<std::mutex> lock(mutex_);
    errands_.push_back(std::move(errand));
    asked_.notify_one();
  }

  void shutdown() override {
    if (running_) {
      {
        std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
        if (connection_ >= 0) ::shutdown(connection_, SHUT_RDWR);
        asked_.notify_one();
      }
      uint64_t one = 1;
      ssize_t ignored = write(bell_, &one, sizeof one);
      (void)ignored;
      pthread_join(thread_, nullptr);
      running_ = false;
    }
    for (const Errand &errand : errands_)
      if (errand.fd >= 0) close(errand.fd);
    errands_.clear();
    if (ssl_) SSL_free(ssl_);
    ssl_ = nullptr;
    for (int *fd : {&connection_, &listener_, &bell_}) {
      if (*fd >= 0) close(*fd);
      *fd = -1;
    }
    if (wake_) wake_->close();
    wake_ = nullptr;
  }

private:
  void run() {
    std::vector<uint8_t> buffer(kBufferBytes);
    Ended broken;
    for (;;) {
      Errand errand;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        asked_.wait(lock, [this] { return stop_ || !errands_.empty(); });
        if (stop_) return;
        errand = std::move(errands_.front());
        errands_.pop_front();
      }
      if (broken.error == 0) broken = carryOut(errand, &buffer);
      if (errand.fd >= 0) close(errand.fd);
      std::lock_guard<std::mutex> lock(mutex_);
      if (stop_) return;
      outcomes_.push_back({errand.id, broken.error, broken.words});
      wake_->signal();
    }
  }

  Ended carryOut(const Errand &errand, std::vector<uint8_t> *buffer) {
    switch (errand.what) {
    case What::kAccept: return accept(errand.name);
    case What::kConnect: return connect(errand);
    case What::kSend: return send(errand, buffer);
    case What::kReceive: return receive(errand, buffer);
    case What::kRelay: return relay(errand, buffer);
    }
    return failed("link", EINVAL);
  }

  // False when nothing came of it in time, or the link is being closed.
  bool ready(int fd, short events, int withinMs) {
    struct pollfd fds[] = {{fd, events, 0}, {bell_, POLLIN, 0}};
    int count;
    do count = poll(fds, 2, withinMs);
    while (count < 0 && errno == EINTR);
    return count > 0 && fds[1].revents == 0;
  }

  Ended accept(const std::string &name) {
    for (;;) {
      if (!ready(listener_, POLLIN, -1)) return failed("accept", ECANCELED);
      int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      if (take(fd).error == 0 && SSL_accept(ssl_) == 1 && isNamed(ssl_, name)) return {};
      ERR_clear_error();
      drop();
    }
  }

  Ended connect(const Errand &errand) {
    struct addrinfo hints = {}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    int trouble = getaddrinfo(errand.host.c_str(), std::to_string(errand.port).c_str(), &hints, &found);
    if (trouble != 0) return {EHOSTUNREACH, std::string("getaddrinfo: ") + gai_strerror(trouble)};
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = fd >= 0 && ::connect(fd, found->ai_addr, found->ai_addrlen) == 0 ? 0 : errno;
    freeaddrinfo(found);
    if (fd >= 0 && error == EINPROGRESS) {
      socklen_t length = sizeof error;
      if (!ready(fd, POLLOUT, silentMs_)) error = ETIMEDOUT;
      else getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    }
    if (fd < 0 || error != 0) {
      if (fd >= 0) close(fd);
      return failed("connect", error);
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    Ended taken = take(fd);
    if (taken.error != 0) return taken;
    if (SSL_set1_host(ssl_, errand.name.c_str()) != 1) return failed("host", EINVAL);
    return SSL_connect(ssl_) == 1 ? Ended{} : tlsFailed("connect", errno);
  }

  Ended take(int fd) {
    struct timeval silent = {silentMs_ / 1000, (silentMs_ % 1000) * 1000};
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silent, sizeof silent);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &silent, sizeof silent);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      connection_ = fd;
      if (stop_) return failed("link", ECANCELED);
    }
    ssl_ = SSL_new(context_);
    return ssl_ && SSL_set_fd(ssl_, fd) == 1 ? Ended{} : tlsFailed("link", ENOMEM);
  }

  void drop() {
    if (ssl_) SSL_free(ssl_);
    ssl_ = nullptr;
    std::lock_guard<std::mutex> lock(mutex_);
    close(connection_);
    connection_ = -1;
  }

  Ended send(const Errand &errand, std::vector<uint8_t> *buffer) {
    if (!ssl_) return failed("link", ENOTCONN);
    for (uint64_t done = 0; done < errand.length;) {
      size_t want = static_cast<size_t>(std::min<uint64_t>(buffer->size(), errand.length - done));
      ssize_t got = pread(errand.fd, buffer->data(), want, static_cast<off_t>(errand.offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return failed("pread", got < 0 ? errno : ENODATA);
      errno = 0;
      if (SSL_write(ssl_, buffer->data(), static_cast<int>(got)) != got) return tlsFailed("write", errno);
      done += static_cast<uint64_t>(got);
    }
    return {};
  }

  Ended receive(const Errand &errand, std::vector<uint8_t> *buffer) {
    if (!ssl_) return failed("link", ENOTCONN);
    for (uint64_t done = 0; done < errand.length;) {
      size_t want = static_cast<size_t>(std::min<uint64_t>(buffer->size(), errand.length - done)), have = 0;
      while (have < want) {
        errno = 0;
        int got = SSL_read(ssl_, buffer->data() + have, static_cast<int>(want - have));
        if (got <= 0) return tlsFailed("read", errno);
        have += static_cast<size_t>(got);
      }
      for (size_t put = 0; put < have;) {
        ssize_t count = pwrite(errand.fd, buffer->data() + put, have - put, static_cast<off_t>(errand.offset + done + put));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return failed("pwrite", count < 0 ? errno : EIO);
        put += static_cast<size_t>(count);
      }
      done += have;
    }
    return {};
  }

  // To a stream that may be written to without waiting only.
  Ended pass(int fd, const uint8_t *data, size_t length) {
    for (size_t done = 0; done < length;) {
      ssize_t count = ::send(fd, data + done, length - done, MSG_NOSIGNAL);
      if (count > 0) done += static_cast<size_t>(count);
      else if (count < 0 && errno == EAGAIN) {
        if (!ready(fd, POLLOUT, silentMs_)) return failed("send", ETIMEDOUT);
      } else if (count == 0 || errno != EINTR) return failed("send", count < 0 ? errno : EIO);
    }
    return {};
  }

  Ended relay(const Errand &errand, std::vector<uint8_t> *buffer) {
    if (!ssl_ && errand.length > 0) return failed("link", ENOTCONN);
    Ended passed = pass(errand.fd, errand.first.data(), errand.first.size());
    for (uint64_t done = 0; passed.error == 0 && done < errand.length;) {
      int want = static_cast<int>(std::min<uint64_t>(buffer->size(), errand.length - done));
      errno = 0;
      int got = SSL_read(ssl_, buffer->data(), want);
      if (got <= 0) return tlsFailed("read", errno);
      passed = pass(errand.fd, buffer->data(), static_cast<size_t>(got));
      done += static_cast<uint64_t>(got);
    }
    return passed;
  }

  // On the main loop.
  void deliver() {
    std::deque<Outcome> outcomes;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      outcomes.swap(outcomes_);
    }
    for (const Outcome &outcome : outcomes) {
      napi_value values[] = {number(env(), outcome.id), number(env(), outcome.error), text(env(), outcome.words.c_str())};
      emit("onDone", 3, values);
    }
  }

  SSL_CTX *context_;
  int silentMs_;
  SSL *ssl_ = nullptr; // the thread's while it runs
  int listener_ = -1, connection_ = -1, bell_ = -1;
  bool running_ = false, stop_ = false;
  pthread_t thread_{};
  Wake *wake_ = nullptr;
  std::mutex mutex_;
  std::condition_variable asked_;
  std::deque<Errand> errands_;
  std::deque<Outcome> outcomes_;
};

napi_value link(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::string pem[3];
  const char *names[] = {"ca", "cert", "key"};
  for (size_t i = 0; i < 3; i++) {
    const uint8_t *data;
    size_t length;
    if (!call.bytes(i, names[i], &data, &length)) return nullptr;
    pem[i].assign(reinterpret_cast<const char *>(data), length);
  }
  uint32_t silentMs;
  if (!call.unsignedInteger(3, "silentMs", &silentMs)) return nullptr;
  if (!hasOpenssl()) return null(env);
  SSL_CTX *context = contextOf(pem[0], pem[1], pem[2]);
  if (!context) return throwErrno(env, "link", EINVAL);
  auto *made = new Link(Instance::of(env), context, static_cast<int>(silentMs));
  napi_value result = Object::wrap(kLink, made);
  if (!result) return nullptr;
  int error = made->start();
  if (error) return throwErrno(env, "link", error);
  set(env, result, "onDone", null(env));
  made->hold();
  return result;
}

napi_value listenAt(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *link = Object::from<Link>(env, call.self);
  std::string host;
  if (!link || !call.string(0, "host", &host)) return nullptr;
  int port = link->listen(host);
  return port < 0 ? throwErrno(env, "listen", -port) : number(env, port);
}

napi_value acceptFrom(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *link = Object::from<Link>(env, call.self);
  Errand errand = {};
  errand.what = What::kAccept;
  if (!link || !call.unsignedInteger(0, "id", &errand.id) || !call.string(1, "name", &errand.name)) return nullptr;
  link->ask(std::move(errand));
  return undefined(env);
}

napi_value connectTo(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *link = Object::from<Link>(env, call.self);
  Errand errand = {};
  errand.what = What::kConnect;
  if (!link || !call.unsignedInteger(0, "id", &errand.id) || !call.string(1, "host", &errand.host) ||
      !call.unsignedInteger(2, "port", &errand.port) || !call.string(3, "name", &errand.name))
    return nullptr;
  link->ask(std::move(errand));
  return undefined(env);
}

napi_value move(napi_env env, napi_callback_info info, What what) {
  Call call(env, info);
  auto *link = Object::from<Link>(env, call.self);
  Errand errand = {};
  errand.what = what;
  int fd;
  if (!link || !call.unsignedInteger(0, "id", &errand.id) || !call.integer(1, "fd", &fd) ||
      !call.bigint(2, "offset", &errand.offset) || !call.bigint(3, "length", &errand.length))
    return nullptr;
  errand.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (errand.fd < 0) return throwErrno(env, "fcntl", errno);
  link->ask(std::move(errand));
  return undefined(env);
}

napi_value sendRange(napi_env env, napi_callback_info info) { return move(env, info, What::kSend); }
napi_value receiveRange(napi_env env, napi_callback_info info) { return move(env, info, What::kReceive); }

napi_value relayTo(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *link = Object::from<Link>(env, call.self);
  Errand errand = {};
  errand.what = What::kRelay;
  int fd;
  const uint8_t *first;
  size_t bytes;
  if (!link || !call.unsignedInteger(0, "id", &errand.id) || !call.integer(1, "fd", &fd) ||
      !call.bytes(2, "first", &first, &bytes) || !call.bigint(3, "length", &errand.length))
    return nullptr;
  errand.first.assign(first, first + bytes);
  errand.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (errand.fd < 0) return throwErrno(env, "fcntl", errno);
  link->ask(std::move(errand));
  return undefined(env);
}

napi_value closeLink(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto *link = Object::from<Link>(env, call.self);
  if (!link) return nullptr;
  link->shutdown();
  link->release();
  return undefined(env);
}

} // namespace

void defineLink(napi_env env, napi_value exports) {
  static const Method methods[] = {{"listen", listenAt},      {"accept", acceptFrom}, {"connect", connectTo}, {"send", sendRange},
                                   {"receive", receiveRange}, {"relay", relayTo},     {"close", closeLink}};
  defineClass(Instance::of(env), kLink, "Link", methods, 7);
  method(env, exports, "link", link);
}

} // namespace muster
