package main

// The types that the server knows, and the few defaults that admission cannot do without: kube-apiserver keeps its
// defaulting outside of its libraries, so all others are missing here.

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
)

var (
	scheme = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme)
)

func init() {
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	versions := []schema.GroupVersion{authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion}
	for _, g := range groups {
		versions = append(versions, g.version)
	}
	for kind, goType := range clientscheme.Scheme.AllKnownTypes() {
		if !slices.Contains(versions, kind.GroupVersion()) || !strings.HasPrefix(goType.PkgPath(), "k8s.io/api/") {
			continue
		}
		object := func() runtime.Object { return reflect.New(goType).Interface().(runtime.Object) }
		scheme.AddKnownTypeWithName(kind, object())
		if kind.Group == eventsv1.GroupName && strings.HasPrefix(kind.Kind, "Event") {
			continue
		}
		// The v1 types serve as the internal ones too.
		scheme.AddKnownTypeWithName(schema.GroupVersionKind{Group: kind.Group, Version: runtime.APIVersionInternal, Kind: kind.Kind}, object())
	}
	for _, version := range versions {
		metav1.AddToGroupVersion(scheme, version)
		must(scheme.SetVersionPriority(version))
	}
	addEventConversions()
	addDefaults()
	addFieldLabels()
}

func setIfNil[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

func addDefaults() {
	named := func(rules []registration.NamedRuleWithOperations) {
		for i := range rules {
			setIfNil(&rules[i].Scope, registration.AllScopes)
		}
	}
	resources := func(match *registration.MatchResources) {
		if match == nil {
			return
		}
		setIfNil(&match.NamespaceSelector, metav1.LabelSelector{})
		setIfNil(&match.ObjectSelector, metav1.LabelSelector{})
		setIfNil(&match.MatchPolicy, registration.Equivalent)
		named(match.ResourceRules)
		named(match.ExcludeResourceRules)
	}
	client := func(config *registration.WebhookClientConfig, rules []registration.RuleWithOperations) {
		for i := range rules {
			setIfNil(&rules[i].Scope, registration.AllScopes)
		}
		if config.Service != nil {
			setIfNil(&config.Service.Port, 443)
		}
	}
	scheme.AddTypeDefaultingFunc(&registration.ValidatingAdmissionPolicy{}, func(o any) {
		spec := &o.(*registration.ValidatingAdmissionPolicy).Spec
		setIfNil(&spec.FailurePolicy, registration.Fail)
		resources(spec.MatchConstraints)
	})
	scheme.AddTypeDefaultingFunc(&registration.ValidatingAdmissionPolicyBinding{}, func(o any) {
		resources(o.(*registration.ValidatingAdmissionPolicyBinding).Spec.MatchResources)
	})
	scheme.AddTypeDefaultingFunc(&registration.MutatingAdmissionPolicy{}, func(o any) {
		spec := &o.(*registration.MutatingAdmissionPolicy).Spec
		setIfNil(&spec.FailurePolicy, registration.Fail)
		resources(spec.MatchConstraints)
	})
	scheme.AddTypeDefaultingFunc(&registration.MutatingAdmissionPolicyBinding{}, func(o any) {
		resources(o.(*registration.MutatingAdmissionPolicyBinding).Spec.MatchResources)
	})
	scheme.AddTypeDefaultingFunc(&registration.ValidatingWebhookConfiguration{}, func(o any) {
		for i := range o.(*registration.ValidatingWebhookConfiguration).Webhooks {
			hook := &o.(*registration.ValidatingWebhookConfiguration).Webhooks[i]
			setIfNil(&hook.NamespaceSelector, metav1.LabelSelector{})
			setIfNil(&hook.ObjectSelector, metav1.LabelSelector{})
			setIfNil(&hook.MatchPolicy, registration.Equivalent)
			setIfNil(&hook.FailurePolicy, registration.Fail)
			setIfNil(&hook.TimeoutSeconds, 10)
			client(&hook.ClientConfig, hook.Rules)
		}
	})
	scheme.AddTypeDefaultingFunc(&registration.MutatingWebhookConfiguration{}, func(o any) {
		for i := range o.(*registration.MutatingWebhookConfiguration).Webhooks {
			hook := &o.(*registration.MutatingWebhookConfiguration).Webhooks[i]
			setIfNil(&hook.NamespaceSelector, metav1.LabelSelector{})
			setIfNil(&hook.ObjectSelector, metav1.LabelSelector{})
			setIfNil(&hook.MatchPolicy, registration.Equivalent)
			setIfNil(&hook.FailurePolicy, registration.Fail)
			setIfNil(&hook.TimeoutSeconds, 10)
			setIfNil(&hook.ReinvocationPolicy, registration.NeverReinvocationPolicy)
			client(&hook.ClientConfig, hook.Rules)
		}
	})
	scheme.AddTypeDefaultingFunc(&corev1.Pod{}, func(o any) {
		spec := &o.(*corev1.Pod).Spec
		if spec.RestartPolicy == "" {
			spec.RestartPolicy = corev1.RestartPolicyAlways
		}
		if spec.DNSPolicy == "" {
			spec.DNSPolicy = corev1.DNSClusterFirst
		}
		setIfNil(&spec.TerminationGracePeriodSeconds, 30)
		setIfNil(&spec.EnableServiceLinks, true)
		setIfNil(&spec.SecurityContext, corev1.PodSecurityContext{})
	})
}

func addFieldLabels() {
	selectable := func(kind schema.GroupVersionKind, fields ...string) {
		must(scheme.AddFieldLabelConversionFunc(kind, func(label, value string) (string, string, error) {
			if label == "metadata.name" || label == "metadata.namespace" || slices.Contains(fields, label) {
				return label, value, nil
			}
			return "", "", fmt.Errorf("field label not supported: %s", label)
		}))
	}
	for _, version := range []struct {
		kind      schema.GroupVersionKind
		reference string
	}{{corev1.SchemeGroupVersion.WithKind("Event"), "involvedObject"}, {eventsv1.SchemeGroupVersion.WithKind("Event"), "regarding"}} {
		fields := []string{"reason", "type", "reportingComponent"}
		for _, name := range referenceFields {
			fields = append(fields, version.reference+"."+name)
		}
		selectable(version.kind, fields...)
	}
	selectable(corev1.SchemeGroupVersion.WithKind("Pod"), "spec.nodeName", "status.phase")
	selectable(corev1.SchemeGroupVersion.WithKind("Secret"), "type")
	selectable(corev1.SchemeGroupVersion.WithKind("Namespace"), "status.phase")
}
