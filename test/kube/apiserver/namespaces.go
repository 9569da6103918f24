package main

// What kube-controller-manager does for a namespace that is being deleted: everything in it is deleted, and its finalizer
// goes when nothing is left.

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/klog/v2"
)

type namespaceCleaner struct {
	client    kubernetes.Interface
	metadata  metadata.Interface
	lister    corelisters.NamespaceLister
	resources func() []resource
}

const namespacePeriod = 250 * time.Millisecond

func (c *namespaceCleaner) run(ctx context.Context) {
	ticker := time.NewTicker(namespacePeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		namespaces, _ := c.lister.List(labels.Everything())
		for _, namespace := range namespaces {
			if namespace.DeletionTimestamp == nil {
				continue
			}
			if err := c.clean(ctx, namespace.DeepCopy()); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				klog.ErrorS(err, "namespace not cleaned", "namespace", namespace.Name)
			}
		}
	}
}

func (c *namespaceCleaner) clean(ctx context.Context, namespace *corev1.Namespace) error {
	if namespace.Status.Phase != corev1.NamespaceTerminating {
		namespace.Status.Phase = corev1.NamespaceTerminating
		_, err := c.client.CoreV1().Namespaces().UpdateStatus(ctx, namespace, metav1.UpdateOptions{})
		return err
	}
	left := false
	for _, r := range c.resources() {
		if !r.namespaced {
			continue
		}
		objects := c.metadata.Resource(r.GroupVersionResource).Namespace(namespace.Name)
		list, err := objects.List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return err
		}
		if len(list.Items) == 0 {
			continue
		}
		// Events of the end of other objects come late.
		left = left || !isEvent(r)
		background := metav1.DeletePropagationBackground
		if err := objects.DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{}); err != nil {
			return err
		}
	}
	if left {
		return nil
	}
	patch := []byte(`{"metadata":{"finalizers":null}}`)
	_, err := c.client.CoreV1().Namespaces().Patch(ctx, namespace.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
