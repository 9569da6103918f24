// The few functions of OpenSSL that a link needs, as the Node that runs this has them in itself: it exports them, but its headers do
// not come with it. Weak, so that the module also loads into a Node that was built without; `hasOpenssl` says. Their interface has
// been stable since OpenSSL 3.0.
#ifndef MUSTER_ADDON_OPENSSL_H
#define MUSTER_ADDON_OPENSSL_H

#include <stddef.h>

extern "C" {
typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
typedef struct bio_st BIO;
typedef struct x509_st X509;
typedef struct X509_name_st X509_NAME;
typedef struct x509_store_st X509_STORE;
typedef struct evp_pkey_st EVP_PKEY;

#define MUSTER_WEAK __attribute__((weak))
MUSTER_WEAK const SSL_METHOD *TLS_method(void);
MUSTER_WEAK SSL_CTX *SSL_CTX_new(const SSL_METHOD *);
MUSTER_WEAK void SSL_CTX_free(SSL_CTX *);
MUSTER_WEAK long SSL_CTX_ctrl(SSL_CTX *, int command, long value, void *pointer);
MUSTER_WEAK int SSL_CTX_use_certificate(SSL_CTX *, X509 *);
MUSTER_WEAK int SSL_CTX_use_PrivateKey(SSL_CTX *, EVP_PKEY *);
MUSTER_WEAK void SSL_CTX_set_verify(SSL_CTX *, int mode, void *callback);
MUSTER_WEAK X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *);
MUSTER_WEAK int X509_STORE_add_cert(X509_STORE *, X509 *);
MUSTER_WEAK SSL *SSL_new(SSL_CTX *);
MUSTER_WEAK void SSL_free(SSL *);
MUSTER_WEAK int SSL_set_fd(SSL *, int fd);
MUSTER_WEAK int SSL_set1_host(SSL *, const char *name);
MUSTER_WEAK int SSL_accept(SSL *);
MUSTER_WEAK int SSL_connect(SSL *);
MUSTER_WEAK int SSL_read(SSL *, void *, int);
MUSTER_WEAK int SSL_write(SSL *, const void *, int);
MUSTER_WEAK int SSL_get_error(const SSL *, int result);
MUSTER_WEAK X509 *SSL_get1_peer_certificate(const SSL *);
MUSTER_WEAK X509_NAME *X509_get_subject_name(const X509 *);
MUSTER_WEAK int X509_NAME_get_text_by_NID(X509_NAME *, int nid, char *, int length);
MUSTER_WEAK void X509_free(X509 *);
MUSTER_WEAK void EVP_PKEY_free(EVP_PKEY *);
MUSTER_WEAK BIO *BIO_new_mem_buf(const void *, int length);
MUSTER_WEAK int BIO_free(BIO *);
MUSTER_WEAK X509 *PEM_read_bio_X509(BIO *, X509 **, void *callback, void *user);
MUSTER_WEAK EVP_PKEY *PEM_read_bio_PrivateKey(BIO *, EVP_PKEY **, void *callback, void *user);
MUSTER_WEAK unsigned long ERR_get_error(void);
MUSTER_WEAK void ERR_error_string_n(unsigned long, char *, size_t);
MUSTER_WEAK void ERR_clear_error(void);
}

namespace muster {

constexpr int kSslVerifyPeer = 1, kSslVerifyFailIfNoPeerCert = 2;
constexpr int kSslCtrlSetMinProtoVersion = 123;
constexpr int kTls13 = 0x0304;
constexpr int kNidCommonName = 13;

inline bool hasOpenssl() { return TLS_method && SSL_CTX_new && SSL_get1_peer_certificate && SSL_set1_host && PEM_read_bio_X509; }

} // namespace muster

#endif
