package main

// One generic registry for all built-in kinds, on the same storage and watch cache as kube-apiserver's. It keeps the rules
// that hold for every kind (generation, status subresource, finalizers, field selectors) and knows next to nothing of any
// single kind: specs are neither validated nor defaulted.

import (
	"context"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
)

// The finalizer of every namespace; namespaces.go takes it away once nothing is left in one.
const namespaceFinalizer = "kubernetes"

type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	namespaced bool
	// The kind has a status subresource; onStatus: this strategy serves it.
	hasStatus, onStatus bool
}

func fieldOf(object runtime.Object, name string) reflect.Value {
	return reflect.ValueOf(object).Elem().FieldByName(name)
}

func (s strategy) NamespaceScoped() bool        { return s.namespaced }
func (strategy) AllowCreateOnUpdate() bool      { return false }
func (strategy) AllowUnconditionalUpdate() bool { return true }
func (strategy) Canonicalize(runtime.Object)    {}

func (s strategy) PrepareForCreate(_ context.Context, object runtime.Object) {
	accessor, _ := meta.Accessor(object)
	if s.hasStatus {
		status := fieldOf(object, "Status")
		status.Set(reflect.Zero(status.Type()))
	}
	if fieldOf(object, "Spec").IsValid() {
		accessor.SetGeneration(1)
	}
	switch typed := object.(type) {
	case *corev1.Namespace:
		typed.Status.Phase = corev1.NamespaceActive
		typed.Finalizers = append(typed.Finalizers, namespaceFinalizer)
		if typed.Labels == nil {
			typed.Labels = map[string]string{}
		}
		typed.Labels[corev1.LabelMetadataName] = typed.Name
	case *corev1.Pod:
		typed.Status.Phase = corev1.PodPending
		if typed.Spec.SchedulerName == "" {
			typed.Spec.SchedulerName = corev1.DefaultSchedulerName
		}
	case *corev1.Secret:
		if typed.Type == "" {
			typed.Type = corev1.SecretTypeOpaque
		}
		foldStringData(typed)
	}
}

func foldStringData(secret *corev1.Secret) {
	for key, value := range secret.StringData {
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[key] = []byte(value)
	}
	secret.StringData = nil
}

func (s strategy) PrepareForUpdate(_ context.Context, object, old runtime.Object) {
	accessor, _ := meta.Accessor(object)
	if s.onStatus {
		status := reflect.New(fieldOf(object, "Status").Type()).Elem()
		status.Set(fieldOf(object, "Status"))
		version, managed := accessor.GetResourceVersion(), accessor.GetManagedFields()
		reflect.ValueOf(object).Elem().Set(reflect.ValueOf(old.DeepCopyObject()).Elem())
		fieldOf(object, "Status").Set(status)
		accessor.SetResourceVersion(version)
		accessor.SetManagedFields(managed)
		return
	}
	if s.hasStatus {
		fieldOf(object, "Status").Set(fieldOf(old, "Status"))
	}
	if secret, ok := object.(*corev1.Secret); ok {
		foldStringData(secret)
	}
	if spec := fieldOf(object, "Spec"); spec.IsValid() {
		before, _ := meta.Accessor(old)
		generation := before.GetGeneration()
		if !reflect.DeepEqual(spec.Interface(), fieldOf(old, "Spec").Interface()) {
			generation++
		}
		accessor.SetGeneration(generation)
	}
}

// A Pod on a node is ended by that node's kubelet within its grace period, and removed by it then; all else goes at once.
func (strategy) CheckGracefulDelete(_ context.Context, object runtime.Object, options *metav1.DeleteOptions) bool {
	pod, isPod := object.(*corev1.Pod)
	if !isPod || options == nil {
		return false
	}
	period := int64(30)
	if own := pod.Spec.TerminationGracePeriodSeconds; own != nil {
		period = *own
	}
	if asked := options.GracePeriodSeconds; asked != nil {
		period = *asked
	}
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		period = 0
	}
	options.GracePeriodSeconds = &period
	return true
}

func (strategy) Validate(context.Context, runtime.Object) field.ErrorList { return nil }
func (strategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func attributesOf(object runtime.Object) (labels.Set, fields.Set, error) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return nil, nil, err
	}
	set := fields.Set{"metadata.name": accessor.GetName(), "metadata.namespace": accessor.GetNamespace()}
	switch typed := object.(type) {
	case *corev1.Event:
		addReference(set, "involvedObject", typed.InvolvedObject)
		addReference(set, "regarding", typed.InvolvedObject)
		set["reason"], set["type"], set["reportingComponent"] = typed.Reason, typed.Type, typed.ReportingController
	case *corev1.Pod:
		set["spec.nodeName"], set["status.phase"] = typed.Spec.NodeName, string(typed.Status.Phase)
	case *corev1.Secret:
		set["type"] = string(typed.Type)
	case *corev1.Namespace:
		set["status.phase"] = string(typed.Status.Phase)
	}
	return accessor.GetLabels(), set, nil
}

var referenceFields = []string{"apiVersion", "kind", "namespace", "name", "uid", "resourceVersion", "fieldPath"}

func addReference(set fields.Set, prefix string, to corev1.ObjectReference) {
	values := []string{to.APIVersion, to.Kind, to.Namespace, to.Name, string(to.UID), to.ResourceVersion, to.FieldPath}
	for i, name := range referenceFields {
		set[prefix+"."+name] = values[i]
	}
}

type registry struct {
	*genericregistry.Store
	shortNames []string
}

func (r *registry) ShortNames() []string { return r.shortNames }

type statusRegistry struct{ store *genericregistry.Store }

func (r *statusRegistry) New() runtime.Object { return r.store.New() }
func (r *statusRegistry) Destroy()            {}
func (r *statusRegistry) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}
func (r *statusRegistry) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, create, update, false, options)
}
func (r *statusRegistry) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, object, options)
}

func registriesOf(getter generic.RESTOptionsGetter, g apiGroup) map[string]rest.Storage {
	result := map[string]rest.Storage{}
	for _, k := range g.kinds {
		resource := schema.GroupResource{Group: g.version.Group, Resource: k.plural}
		objectType, listType := reflect.TypeOf(k.object).Elem(), reflect.TypeOf(k.list).Elem()
		rules := strategy{ObjectTyper: scheme, NameGenerator: names.SimpleNameGenerator, namespaced: k.namespaced, hasStatus: k.status}
		store := &genericregistry.Store{
			NewFunc:     func() runtime.Object { return reflect.New(objectType).Interface().(runtime.Object) },
			NewListFunc: func() runtime.Object { return reflect.New(listType).Interface().(runtime.Object) },
			PredicateFunc: func(label labels.Selector, selected fields.Selector) storage.SelectionPredicate {
				return storage.SelectionPredicate{Label: label, Field: selected, GetAttrs: attributesOf}
			},
			DefaultQualifiedResource:  resource,
			SingularQualifiedResource: schema.GroupResource{Group: g.version.Group, Resource: strings.ToLower(objectType.Name())},
			CreateStrategy:            rules,
			UpdateStrategy:            rules,
			DeleteStrategy:            rules,
			TableConvertor:            rest.NewDefaultTableConvertor(resource),
		}
		must(store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: getter, AttrFunc: attributesOf}))
		result[k.plural] = &registry{store, k.shortNames}
		if _, isPod := k.object.(*corev1.Pod); isPod {
			result[k.plural+"/binding"] = &bindings{store}
		}
		if k.status {
			onStatus := *store
			rules.onStatus = true
			onStatus.UpdateStrategy = rules
			result[k.plural+"/status"] = &statusRegistry{&onStatus}
		}
	}
	return result
}
