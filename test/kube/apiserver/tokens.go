package main

// Tokens of service accounts: TokenRequest makes them, requests and TokenReviews are judged by them. They are bound as the
// real ones are (audience, account, Pod and its node, time), but signed with one secret key of this server.

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/kubernetes"
)

const issuer = "https://kubernetes.default.svc"

type reference struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
}

type claims struct {
	Issuer    string   `json:"iss"`
	Audiences []string `json:"aud"`
	IssuedAt  int64    `json:"iat"`
	Expires   int64    `json:"exp"`
	Subject   string   `json:"sub"`
	Private   struct {
		Namespace      string     `json:"namespace"`
		ServiceAccount reference  `json:"serviceaccount"`
		Pod            *reference `json:"pod,omitempty"`
		Node           *reference `json:"node,omitempty"`
	} `json:"kubernetes.io"`
}

type tokenBook struct {
	key    []byte
	client kubernetes.Interface
}

var encoding = base64.RawURLEncoding

func (b *tokenBook) signature(text string) []byte {
	mac := hmac.New(sha256.New, b.key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func (b *tokenBook) sign(c claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	text := encoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encoding.EncodeToString(payload)
	return text + "." + encoding.EncodeToString(b.signature(text)), nil
}

// AuthenticateToken judges a token; false without an error for what is none of ours.
func (b *tokenBook) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, false, nil
	}
	signed, err := encoding.DecodeString(parts[2])
	if err != nil || !hmac.Equal(signed, b.signature(parts[0]+"."+parts[1])) {
		return nil, false, nil
	}
	payload, err := encoding.DecodeString(parts[1])
	if err != nil {
		return nil, false, err
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, false, err
	}
	if time.Now().Unix() >= c.Expires {
		return nil, false, errors.New("service account token has expired")
	}
	wanted, limited := authenticator.AudiencesFrom(ctx)
	audiences := authenticator.Audiences(c.Audiences).Intersect(wanted)
	if limited && len(audiences) == 0 {
		return nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", c.Audiences, wanted)
	}
	private := c.Private
	account, err := b.client.CoreV1().ServiceAccounts(private.Namespace).Get(ctx, private.ServiceAccount.Name, metav1.GetOptions{})
	if err != nil || account.UID != private.ServiceAccount.UID {
		return nil, false, errors.New("service account has been deleted")
	}
	extra := map[string][]string{}
	if pod := private.Pod; pod != nil {
		found, err := b.client.CoreV1().Pods(private.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil || found.UID != pod.UID {
			return nil, false, errors.New("service account token has been invalidated: its Pod is gone")
		}
		extra[serviceaccount.PodNameKey], extra[serviceaccount.PodUIDKey] = []string{pod.Name}, []string{string(pod.UID)}
	}
	if node := private.Node; node != nil {
		extra[serviceaccount.NodeNameKey], extra[serviceaccount.NodeUIDKey] = []string{node.Name}, []string{string(node.UID)}
	}
	return &authenticator.Response{Audiences: audiences, User: &user.DefaultInfo{
		Name: c.Subject, UID: string(account.UID), Extra: extra,
		Groups: append(serviceaccount.MakeGroupNames(private.Namespace), user.AllAuthenticated),
	}}, true, nil
}

// tokenRequests is the subresource serviceaccounts/token.
type tokenRequests struct{ book *tokenBook }

func (*tokenRequests) New() runtime.Object { return &authenticationv1.TokenRequest{} }
func (*tokenRequests) Destroy()            {}
func (*tokenRequests) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}
func (t *tokenRequests) Create(ctx context.Context, name string, object runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	asked := object.(*authenticationv1.TokenRequest).DeepCopy()
	namespace := request.NamespaceValue(ctx)
	account, err := t.book.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	c := claims{Issuer: issuer, Audiences: asked.Spec.Audiences, Subject: serviceaccount.MakeUsername(namespace, name)}
	if len(c.Audiences) == 0 {
		c.Audiences = []string{issuer}
	}
	c.Private.Namespace = namespace
	c.Private.ServiceAccount = reference{name, account.UID}
	if bound := asked.Spec.BoundObjectRef; bound != nil {
		if bound.Kind != "Pod" {
			return nil, apierrors.NewBadRequest("only tokens bound to a Pod are served here")
		}
		pod, err := t.book.client.CoreV1().Pods(namespace).Get(ctx, bound.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if bound.UID != "" && bound.UID != pod.UID {
			return nil, apierrors.NewConflict(authenticationv1.Resource("tokenrequests"), name, errors.New("the Pod has another uid"))
		}
		c.Private.Pod = &reference{pod.Name, pod.UID}
		if pod.Spec.NodeName != "" {
			node := reference{Name: pod.Spec.NodeName}
			if found, err := t.book.client.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{}); err == nil {
				node.UID = found.UID
			}
			c.Private.Node = &node
		}
	}
	seconds := int64(3600)
	if asked.Spec.ExpirationSeconds != nil {
		seconds = *asked.Spec.ExpirationSeconds
	}
	asked.Spec.ExpirationSeconds = &seconds
	now := time.Now()
	c.IssuedAt, c.Expires = now.Unix(), now.Unix()+seconds
	token, err := t.book.sign(c)
	if err != nil {
		return nil, err
	}
	asked.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(time.Unix(c.Expires, 0))}
	return asked, nil
}
