package main

// A small kube-aggregator: groups that an APIService names are served by the Service it points to. Requests come here
// authenticated and authorized, and go on with the user in request headers over a connection with the front proxy's
// certificate, as extension API servers expect it. Services are looked up in Endpoints and EndpointSlices.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// apiServiceDefinition stands in for the built-in kind, whose Go types are in none of the libraries.
func apiServiceDefinition() *apiextensionsv1.CustomResourceDefinition {
	keep := true
	anything := func(kind string) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: kind, XPreserveUnknownFields: &keep}
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name:        "apiservices.apiregistration.k8s.io",
			Annotations: map[string]string{"api-approved.kubernetes.io": "https://github.com/kubernetes/kube-aggregator"},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: apiServices.Group, Scope: apiextensionsv1.ClusterScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "apiservices", Singular: "apiservice", Kind: "APIService", ListKind: "APIServiceList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": anything("object"), "status": anything("object")},
				}},
				AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{
					{Name: "Service", Type: "string", JSONPath: ".spec.service.name"},
					{Name: "Available", Type: "string", JSONPath: `.status.conditions[?(@.type=="Available")].status`},
					{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"},
				},
			}},
		},
	}
}

type apiService struct {
	Group, Version        string
	InsecureSkipTLSVerify bool
	CABundle              string
	GroupPriorityMinimum  int
	VersionPriority       int
	Service               *struct {
		Name, Namespace string
		Port            *int32
	}
}

type aggregator struct {
	client  kubernetes.Interface
	dynamic dynamic.Interface
	server  *genericapiserver.GenericAPIServer
	// The front proxy's certificate; without one backends know nobody.
	certificate *tls.Certificate
	served      map[string]*backend
}

type backend struct {
	spec    apiService
	client  kubernetes.Interface
	proxy   *httputil.ReverseProxy
	through *http.Transport
	shown   bool
}

const aggregatePeriod = 250 * time.Millisecond

func (a *aggregator) run(ctx context.Context) {
	a.served = map[string]*backend{}
	ticker := time.NewTicker(aggregatePeriod)
	defer ticker.Stop()
	for {
		if err := a.sync(ctx); err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			klog.ErrorS(err, "API services not synced")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (a *aggregator) sync(ctx context.Context) error {
	list, err := a.dynamic.Resource(apiServices).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	present := map[string]bool{}
	for i := range list.Items {
		object := &list.Items[i]
		spec := apiService{}
		if raw, err := json.Marshal(object.Object["spec"]); err != nil || json.Unmarshal(raw, &spec) != nil || spec.Service == nil {
			continue
		}
		name := object.GetName()
		present[name] = true
		known := a.served[name]
		if known == nil || !sameSpec(known.spec, spec) {
			made, err := a.backendOf(spec)
			if err != nil {
				a.report(ctx, object, err)
				continue
			}
			a.withdraw(name)
			a.served[name], known = made, made
			mux := a.server.Handler.NonGoRestfulMux
			mux.Handle(pathOf(spec), made)
			mux.HandlePrefix(pathOf(spec)+"/", made)
		}
		discovered, err := a.discover(ctx, known)
		if err == nil && !known.shown {
			a.show(spec, discovered)
			known.shown = true
		}
		a.report(ctx, object, err)
	}
	for name := range a.served {
		if !present[name] {
			a.withdraw(name)
			delete(a.served, name)
		}
	}
	return nil
}

func sameSpec(one, other apiService) bool {
	left, _ := json.Marshal(one)
	right, _ := json.Marshal(other)
	return string(left) == string(right)
}

func pathOf(spec apiService) string { return "/apis/" + spec.Group + "/" + spec.Version }

func (a *aggregator) withdraw(name string) {
	known := a.served[name]
	if known == nil {
		return
	}
	mux := a.server.Handler.NonGoRestfulMux
	mux.Unregister(pathOf(known.spec))
	mux.Unregister(pathOf(known.spec) + "/")
	a.server.DiscoveryGroupManager.RemoveGroup(known.spec.Group)
	a.server.AggregatedDiscoveryGroupManager.RemoveGroupVersion(metav1.GroupVersion{Group: known.spec.Group, Version: known.spec.Version})
	known.through.CloseIdleConnections()
}

func (a *aggregator) backendOf(spec apiService) (*backend, error) {
	config := &tls.Config{InsecureSkipVerify: spec.InsecureSkipTLSVerify, ServerName: spec.Service.Name + "." + spec.Service.Namespace + ".svc"}
	if a.certificate != nil {
		config.Certificates = []tls.Certificate{*a.certificate}
	}
	if spec.CABundle != "" {
		bundle, err := base64.StdEncoding.DecodeString(spec.CABundle)
		if err != nil {
			return nil, fmt.Errorf("spec.caBundle: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, fmt.Errorf("spec.caBundle holds no certificate")
		}
	}
	b := &backend{spec: spec, client: a.client, through: &http.Transport{TLSClientConfig: config}}
	b.proxy = &httputil.ReverseProxy{
		Transport: b.through, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			target, _ := r.In.Context().Value(targetKey{}).(string)
			r.SetURL(&url.URL{Scheme: "https", Host: target})
			r.SetXForwarded()
			who, _ := request.UserFrom(r.In.Context())
			setUser(r.Out.Header, who)
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { unavailable(w, r, spec, err) },
	}
	return b, nil
}

type targetKey struct{}

func setUser(header http.Header, who user.Info) {
	header.Del("Authorization")
	for name := range header {
		if len(name) > 9 && name[:9] == "X-Remote-" {
			header.Del(name)
		}
	}
	if who == nil {
		return
	}
	header.Set("X-Remote-User", who.GetName())
	if who.GetUID() != "" {
		header.Set("X-Remote-Uid", who.GetUID())
	}
	for _, group := range who.GetGroups() {
		header.Add("X-Remote-Group", group)
	}
	for key, values := range who.GetExtra() {
		for _, value := range values {
			header.Add("X-Remote-Extra-"+url.PathEscape(key), value)
		}
	}
}

func unavailable(w http.ResponseWriter, r *http.Request, spec apiService, err error) {
	klog.ErrorS(err, "request of an API service failed", "path", r.URL.Path)
	group := schema.GroupVersion{Group: spec.Group, Version: spec.Version}
	responsewriters.ErrorNegotiated(apierrors.NewServiceUnavailable(err.Error()), codecs, group, w, r)
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target, err := b.address(r.Context())
	if err != nil {
		unavailable(w, r, b.spec, err)
		return
	}
	b.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), targetKey{}, target)))
}

// address is that of one ready endpoint of the service.
func (b *backend) address(ctx context.Context) (string, error) {
	namespace, name := b.spec.Service.Namespace, b.spec.Service.Name
	service, err := b.client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	wanted := int32(443)
	if b.spec.Service.Port != nil {
		wanted = *b.spec.Service.Port
	}
	index := slices.IndexFunc(service.Spec.Ports, func(port corev1.ServicePort) bool { return port.Port == wanted })
	if index < 0 {
		return "", fmt.Errorf("service %s/%s has no port %d", namespace, name, wanted)
	}
	portName := service.Spec.Ports[index].Name
	slicesOf, err := b.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
	if err != nil {
		return "", err
	}
	for _, slice := range slicesOf.Items {
		for _, port := range slice.Ports {
			if port.Port == nil || port.Name != nil && *port.Name != portName {
				continue
			}
			for _, endpoint := range slice.Endpoints {
				if (endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready) && len(endpoint.Addresses) > 0 {
					return fmt.Sprintf("%s:%d", endpoint.Addresses[0], *port.Port), nil
				}
			}
		}
	}
	found, err := b.client.CoreV1().Endpoints(namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		for _, subset := range found.Subsets {
			for _, port := range subset.Ports {
				if port.Name == portName && len(subset.Addresses) > 0 {
					return fmt.Sprintf("%s:%d", subset.Addresses[0].IP, port.Port), nil
				}
			}
		}
	}
	return "", fmt.Errorf("no endpoints available for service %s/%s", namespace, name)
}

func (a *aggregator) discover(ctx context.Context, b *backend) (*metav1.APIResourceList, error) {
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	target, err := b.address(limited)
	if err != nil {
		return nil, err
	}
	ask, err := http.NewRequestWithContext(limited, http.MethodGet, "https://"+target+pathOf(b.spec), nil)
	if err != nil {
		return nil, err
	}
	setUser(ask.Header, &user.DefaultInfo{Name: "system:kube-aggregator", Groups: []string{user.SystemPrivilegedGroup}})
	answer, err := b.through.RoundTrip(ask)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("discovery at %s answered %s", target, answer.Status)
	}
	list := &metav1.APIResourceList{}
	return list, json.NewDecoder(answer.Body).Decode(list)
}

func (a *aggregator) show(spec apiService, list *metav1.APIResourceList) {
	version := metav1.GroupVersionForDiscovery{GroupVersion: spec.Group + "/" + spec.Version, Version: spec.Version}
	a.server.DiscoveryGroupManager.AddGroup(metav1.APIGroup{Name: spec.Group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version})
	for i := range list.APIResources {
		if list.APIResources[i].Group == "" {
			list.APIResources[i].Group = spec.Group
		}
		if list.APIResources[i].Version == "" {
			list.APIResources[i].Version = spec.Version
		}
	}
	resources, err := endpoints.ConvertGroupVersionIntoToDiscovery(list.APIResources)
	if err != nil {
		klog.ErrorS(err, "discovery of an API service not understood", "group", spec.Group)
		return
	}
	a.server.AggregatedDiscoveryGroupManager.AddGroupVersion(spec.Group, apidiscoveryv2.APIVersionDiscovery{Version: spec.Version, Resources: resources, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent})
	a.server.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion{Group: spec.Group, Version: spec.Version}, spec.GroupPriorityMinimum, spec.VersionPriority)
}

// report writes the condition Available when it has changed.
func (a *aggregator) report(ctx context.Context, object *unstructured.Unstructured, failure error) {
	status, reason, message := "True", "Passed", "all checks passed"
	if failure != nil {
		status, reason, message = "False", "FailedDiscoveryCheck", failure.Error()
	}
	before, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	if len(before) == 1 {
		if condition, ok := before[0].(map[string]any); ok && condition["status"] == status && condition["message"] == message {
			return
		}
	}
	changed := object.DeepCopy()
	condition := map[string]any{"type": "Available", "status": status, "reason": reason, "message": message, "lastTransitionTime": time.Now().UTC().Format(time.RFC3339)}
	_ = unstructured.SetNestedSlice(changed.Object, []any{condition}, "status", "conditions")
	if _, err := a.dynamic.Resource(apiServices).UpdateStatus(ctx, changed, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		klog.ErrorS(err, "condition of an API service not written", "name", object.GetName())
	}
}
