package main

// A scheduler's word on which node a Pod goes to: once, and not for a Pod that is being deleted.

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
)

type bindings struct{ pods *genericregistry.Store }

func (*bindings) New() runtime.Object   { return &corev1.Binding{} }
func (*bindings) Destroy()              {}
func (*bindings) NamespaceScoped() bool { return true }

func (b *bindings) Create(ctx context.Context, name string, object runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	binding := object.(*corev1.Binding)
	if validate != nil {
		if err := validate(ctx, binding.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	bind := func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		pod := old.DeepCopyObject().(*corev1.Pod)
		refused := func(why string) error {
			return apierrors.NewConflict(corev1.Resource("pods/binding"), name, errors.New("the Pod "+why))
		}
		if pod.DeletionTimestamp != nil {
			return nil, refused("is being deleted")
		}
		if pod.Spec.NodeName != "" {
			return nil, refused("is on node " + pod.Spec.NodeName + " already")
		}
		pod.Spec.NodeName = binding.Target.Name
		return pod, nil
	}
	info := rest.DefaultUpdatedObjectInfo(nil, bind)
	_, _, err := b.pods.Update(ctx, name, info, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{DryRun: options.DryRun})
	if err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}
