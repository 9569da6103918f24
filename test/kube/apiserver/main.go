// Command apiserver is the Kubernetes API server that the tests run against: the libraries that kube-apiserver itself is
// made of (k8s.io/apiserver, k8s.io/apiextensions-apiserver), with a plain registry for the built-in kinds, since theirs is
// in none of the libraries. CustomResourceDefinitions, admission policies, server-side apply, watch cache, OpenAPI and
// discovery are the real ones; what is not is said at the top of each file.
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/spf13/pflag"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	crdclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	crdinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	crdoptions "k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	requestunion "k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/path"
	authorizerunion "k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	definitions "muster/openapi"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "apiserver:", err)
		os.Exit(1)
	}
}

type arguments struct {
	clientCA, tokens, tokenKey                  string
	frontProxyCA, frontProxyCert, frontProxyKey string
}

func main() {
	ctx := genericapiserver.SetupSignalContext()
	storage := storagebackend.NewDefaultConfig("/registry", codecs.LegacyCodec(scheme.PrioritizedVersionsAllGroups()...))
	etcd := options.NewEtcdOptions(storage)
	serving := options.NewSecureServingOptions().WithLoopback()
	running := options.NewServerRunOptions()
	admitting := options.NewAdmissionOptions()
	features := options.NewFeatureOptions()
	features.EnablePriorityAndFairness = false
	var args arguments
	flags := pflag.CommandLine
	etcd.AddFlags(flags)
	serving.AddFlags(flags)
	running.AddUniversalFlags(flags)
	admitting.AddFlags(flags)
	flags.StringVar(&args.clientCA, "client-ca-file", "", "authority of client certificates")
	flags.StringVar(&args.tokens, "token-auth-file", "", "CSV file of bearer tokens")
	flags.StringVar(&args.tokenKey, "service-account-key-file", "", "secret key that signs service account tokens; by default one of this run")
	flags.StringVar(&args.frontProxyCA, "requestheader-client-ca-file", "", "authority of the front proxy's certificate")
	flags.StringVar(&args.frontProxyCert, "proxy-client-cert-file", "", "the front proxy's certificate")
	flags.StringVar(&args.frontProxyKey, "proxy-client-key-file", "", "the front proxy's key")
	pflag.Parse()

	must(running.Complete())
	must(serving.MaybeDefaultWithSelfSignedCerts("localhost", nil, []net.IP{net.ParseIP("127.0.0.1")}))
	config := genericapiserver.NewConfig(codecs)
	must(running.ApplyTo(config))
	must(serving.ApplyToConfig(config))
	must(etcd.ApplyTo(config))
	// The loopback client of the controllers in here must not be what limits a test.
	config.LoopbackClientConfig.QPS, config.LoopbackClientConfig.Burst = -1, -1
	client, err := kubernetes.NewForConfig(config.LoopbackClientConfig)
	must(err)
	dynamicClient, err := dynamic.NewForConfig(config.LoopbackClientConfig)
	must(err)
	metadataClient, err := metadata.NewForConfig(config.LoopbackClientConfig)
	must(err)
	shared := informers.NewSharedInformerFactory(client, 10*time.Minute)
	must(features.ApplyTo(config, client, shared))

	book := &tokenBook{key: tokenKeyOf(args.tokenKey), client: client}
	tokens := authenticate(config, args, book)
	rules := newRBAC(shared.Rbac().V1())
	judge := authorize(config, rules)

	namer := openapi.NewDefinitionNamer(scheme, apiserver.Scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions.GetOpenAPIDefinitions, namer)
	config.OpenAPIConfig.Info.Title = "Kubernetes"
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions.GetOpenAPIDefinitions, namer)
	config.OpenAPIV3Config.Info.Title = "Kubernetes"
	config.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")

	resolver := webhook.NewDefaultServiceResolver()
	wrapper := webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, config.LoopbackClientConfig, nooptrace.NewTracerProvider())
	must(admitting.ApplyTo(config, shared, client, dynamicClient, utilfeature.DefaultFeatureGate, config.EffectiveVersion,
		[]admission.PluginInitializer{webhookinit.NewPluginInitializer(wrapper, resolver)}...))

	custom := customResourceServer(config, etcd, shared, resolver, wrapper)
	server, err := config.Complete(shared).New("test-apiserver", custom.GenericAPIServer)
	must(err)
	install(server, config, tokens, book, rules, judge)

	crds := custom.Informers.Apiextensions().V1().CustomResourceDefinitions()
	followGroups(server, crds)
	resources := func() []resource { return append(builtinResources(), customResources(crds.Lister())...) }
	cleaner := &namespaceCleaner{client, metadataClient, shared.Core().V1().Namespaces().Lister(), resources}
	garbage := newCollector(metadataClient, resources)
	proxy := &aggregator{client: client, dynamic: dynamicClient, server: server, certificate: frontProxyCertificate(args)}
	server.AddPostStartHookOrDie("bootstrap", func(hook genericapiserver.PostStartHookContext) error {
		bootstrap(hook, client, crdclient.NewForConfigOrDie(config.LoopbackClientConfig), args)
		return nil
	})
	server.AddPostStartHookOrDie("controllers", func(hook genericapiserver.PostStartHookContext) error {
		go func() {
			if cache.WaitForCacheSync(hook.Done(), crds.Informer().HasSynced) {
				go cleaner.run(hook)
				go proxy.run(hook)
				garbage.run(hook)
			}
		}()
		return nil
	})

	prepared := server.PrepareRun()
	// The controllers that publish the schemas of custom resources write into the documents that the outer server serves.
	inner := custom.GenericAPIServer
	inner.OpenAPIVersionedService, inner.StaticOpenAPISpec, inner.OpenAPIV3VersionedService = server.OpenAPIVersionedService, server.StaticOpenAPISpec, server.OpenAPIV3VersionedService
	must(prepared.RunWithContext(ctx))
}

func tokenKeyOf(file string) []byte {
	if file != "" {
		key, err := os.ReadFile(file)
		must(err)
		return key
	}
	key := make([]byte, 32)
	_, err := rand.Read(key)
	must(err)
	return key
}

func frontProxyCertificate(args arguments) *tls.Certificate {
	if args.frontProxyCert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(args.frontProxyCert, args.frontProxyKey)
	must(err)
	return &pair
}

func authenticate(config *genericapiserver.Config, args arguments, book *tokenBook) authenticator.Token {
	var ways []authenticator.Request
	if args.clientCA != "" {
		authority, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca-bundle", args.clientCA)
		must(err)
		must(config.Authentication.ApplyClientCert(authority, config.SecureServing))
		ways = append(ways, x509.NewDynamic(authority.VerifyOptions, x509.CommonNameUserConversion))
	}
	var tokens authenticator.Token = book
	if args.tokens != "" {
		listed, err := tokenfile.NewCSV(args.tokens)
		must(err)
		audiences := authenticator.Audiences{issuer}
		tokens = tokenunion.New(authenticator.WrapAudienceAgnosticToken(audiences, listed), book)
	}
	ways = append(ways, bearertoken.New(tokens), websocket.NewProtocolAuthenticator(tokens))
	config.Authentication.APIAudiences = authenticator.Audiences{issuer}
	config.Authentication.Authenticator = requestunion.NewFailOnError(group.NewAuthenticatedGroupAdder(requestunion.New(ways...)), anonymous.NewAuthenticator(nil))
	return tokens
}

func authorize(config *genericapiserver.Config, rules *rbac) authorizer.Authorizer {
	public, err := path.NewAuthorizer([]string{"/healthz", "/readyz", "/livez", "/version"})
	must(err)
	judge := authorizerunion.New(authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup), public, rules)
	config.Authorization.Authorizer = judge
	config.RuleResolver = rules
	return judge
}

func customResourceServer(config *genericapiserver.Config, etcd *options.EtcdOptions, shared informers.SharedInformerFactory, resolver webhook.ServiceResolver, wrapper webhook.AuthenticationInfoResolverWrapper) *apiserver.CustomResourceDefinitions {
	own := *config
	own.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	storage := *etcd
	storage.StorageConfig.Codec = apiserver.Codecs.LegacyCodec(apiextensionsv1beta1.SchemeGroupVersion, apiextensionsv1.SchemeGroupVersion)
	storage.StorageConfig.EncodeVersioner = runtime.NewMultiGroupVersioner(apiextensionsv1.SchemeGroupVersion, schema.GroupKind{Group: apiextensionsv1.GroupName})
	storage.SkipHealthEndpoints = true
	must(storage.ApplyTo(&own))
	own.MergedResourceConfig = apiserver.DefaultAPIResourceConfigSource()
	complete := (&apiserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: own, SharedInformerFactory: shared},
		ExtraConfig: apiserver.ExtraConfig{
			CRDRESTOptionsGetter: crdoptions.NewCRDRESTOptionsGetter(storage, own.ResourceTransformers, own.StorageObjectCountTracker),
			ServiceResolver:      resolver, AuthResolverWrapper: wrapper, MasterCount: 1,
		},
	}).Complete()
	server, err := complete.New(genericapiserver.NewEmptyDelegate())
	must(err)
	return server
}

func install(server *genericapiserver.GenericAPIServer, config *genericapiserver.Config, tokens authenticator.Token, book *tokenBook, rules *rbac, judge authorizer.Authorizer) {
	info := func(version schema.GroupVersion, storage map[string]rest.Storage) *genericapiserver.APIGroupInfo {
		made := genericapiserver.NewDefaultAPIGroupInfo(version.Group, scheme, metav1.ParameterCodec, codecs)
		made.PrioritizedVersions = []schema.GroupVersion{version}
		made.VersionedResourcesStorageMap[version.Version] = storage
		return &made
	}
	infos := []*genericapiserver.APIGroupInfo{
		info(authenticationv1.SchemeGroupVersion, authenticationReviews(tokens, config.Authentication.APIAudiences)),
		info(authorizationv1.SchemeGroupVersion, authorizationReviews(rules, judge)),
	}
	var events rest.Storage
	for _, g := range groups {
		registries := registriesOf(config.RESTOptionsGetter, g)
		switch g.version {
		case corev1.SchemeGroupVersion:
			registries["serviceaccounts/token"] = &tokenRequests{book}
			events = registries["events"]
			must(server.InstallLegacyAPIGroup("/api", info(g.version, registries)))
			continue
		case eventsv1.SchemeGroupVersion:
			registries["events"] = events
		}
		infos = append(infos, info(g.version, registries))
	}
	must(server.InstallAPIGroups(infos...))
}

// followGroups shows the groups of custom resources in /apis, where the outer server lists only its own.
func followGroups(server *genericapiserver.GenericAPIServer, crds crdinformers.CustomResourceDefinitionInformer) {
	shown := map[string]bool{}
	show := func(any) {
		versions := map[string][]string{apiextensionsv1.GroupName: {"v1"}}
		all, err := crds.Lister().List(labels.Everything())
		if err != nil {
			return
		}
		for _, definition := range all {
			for _, version := range definition.Spec.Versions {
				if version.Served && !slices.Contains(versions[definition.Spec.Group], version.Name) {
					versions[definition.Spec.Group] = append(versions[definition.Spec.Group], version.Name)
				}
			}
		}
		for name, served := range versions {
			shownGroup := metav1.APIGroup{Name: name}
			for _, version := range served {
				shownGroup.Versions = append(shownGroup.Versions, metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + version, Version: version})
			}
			shownGroup.PreferredVersion = shownGroup.Versions[0]
			server.DiscoveryGroupManager.AddGroup(shownGroup)
			shown[name] = true
		}
		for name := range shown {
			if versions[name] == nil {
				server.DiscoveryGroupManager.RemoveGroup(name)
				delete(shown, name)
			}
		}
	}
	_, err := crds.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: show, UpdateFunc: func(_, after any) { show(after) }, DeleteFunc: show})
	must(err)
}

// bootstrap makes what a fresh cluster has: namespaces, roles, the kind APIService, and how extension servers know the proxy.
func bootstrap(ctx context.Context, client kubernetes.Interface, crds crdclient.Interface, args arguments) {
	insist := func(create func() error) {
		for ctx.Err() == nil {
			err := create()
			if err == nil || apierrors.IsAlreadyExists(err) {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		insist(func() error {
			_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			return err
		})
	}
	roles, bindings := bootstrapRoles()
	for i := range roles {
		insist(func() error {
			_, err := client.RbacV1().ClusterRoles().Create(ctx, &roles[i], metav1.CreateOptions{})
			return err
		})
	}
	for i := range bindings {
		insist(func() error {
			_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, &bindings[i], metav1.CreateOptions{})
			return err
		})
	}
	insist(func() error {
		_, err := crds.ApiextensionsV1().CustomResourceDefinitions().Create(ctx, apiServiceDefinition(), metav1.CreateOptions{})
		return err
	})
	const authentication = "extension-apiserver-authentication"
	insist(func() error {
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: authentication + "-reader"}, Rules: []rbacv1.PolicyRule{
			{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{authentication}},
		}}
		_, err := client.RbacV1().Roles("kube-system").Create(ctx, role, metav1.CreateOptions{})
		return err
	})
	data := map[string]string{}
	read := func(key, file string) {
		if file == "" {
			return
		}
		text, err := os.ReadFile(file)
		must(err)
		data[key] = string(text)
	}
	read("client-ca-file", args.clientCA)
	read("requestheader-client-ca-file", args.frontProxyCA)
	data["requestheader-allowed-names"] = `["front-proxy-client"]`
	data["requestheader-username-headers"] = `["X-Remote-User"]`
	data["requestheader-uid-headers"] = `["X-Remote-Uid"]`
	data["requestheader-group-headers"] = `["X-Remote-Group"]`
	data["requestheader-extra-headers-prefix"] = `["X-Remote-Extra-"]`
	insist(func() error {
		_, err := client.CoreV1().ConfigMaps("kube-system").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: authentication}, Data: data}, metav1.CreateOptions{})
		return err
	})
}
