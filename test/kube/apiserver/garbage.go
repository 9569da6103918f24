package main

// What kube-controller-manager's garbage collector does: objects whose owners are gone are deleted, and foreground and orphan
// deletions are carried out. It watches the metadata of all kinds; before it deletes for a missing owner it asks the server.

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

type node struct {
	*metav1.PartialObjectMetadata
	resource resource
}

type collector struct {
	client    metadata.Interface
	resources func() []resource
	queue     workqueue.TypedRateLimitingInterface[types.UID]
	mutex     sync.Mutex
	nodes     map[types.UID]node
	children  map[types.UID]map[types.UID]bool
	watched   map[schema.GroupVersionResource]context.CancelFunc
}

func newCollector(client metadata.Interface, resources func() []resource) *collector {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](20*time.Millisecond, 5*time.Second)
	return &collector{
		client: client, resources: resources, queue: workqueue.NewTypedRateLimitingQueue(limiter),
		nodes: map[types.UID]node{}, children: map[types.UID]map[types.UID]bool{}, watched: map[schema.GroupVersionResource]context.CancelFunc{},
	}
}

func (c *collector) run(ctx context.Context) {
	for range 4 {
		go func() {
			for c.work(ctx) {
			}
		}()
	}
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		c.follow(ctx)
		select {
		case <-ctx.Done():
			c.queue.ShutDown()
			return
		case <-ticker.C:
		}
	}
}

// follow begins to watch kinds that are new, and ends it for those that are gone.
func (c *collector) follow(ctx context.Context) {
	present := map[schema.GroupVersionResource]bool{}
	for _, r := range c.resources() {
		present[r.GroupVersionResource] = true
		if c.watched[r.GroupVersionResource] != nil || isEvent(r) {
			continue
		}
		watch, stop := context.WithCancel(ctx)
		c.watched[r.GroupVersionResource] = stop
		informer := metadatainformer.NewFilteredMetadataInformer(c.client, r.GroupVersionResource, "", 0, cache.Indexers{}, nil).Informer()
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { c.put(node{object.(*metav1.PartialObjectMetadata), r}) },
			UpdateFunc: func(_, object any) { c.put(node{object.(*metav1.PartialObjectMetadata), r}) },
			DeleteFunc: func(object any) {
				if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
					object = last.Obj
				}
				if known, ok := object.(*metav1.PartialObjectMetadata); ok {
					c.remove(known.UID)
				}
			},
		})
		must(err)
		go informer.Run(watch.Done())
	}
	for gvr, stop := range c.watched {
		if present[gvr] {
			continue
		}
		stop()
		delete(c.watched, gvr)
		for _, uid := range c.ofResource(gvr) {
			c.remove(uid)
		}
	}
}

func (c *collector) ofResource(gvr schema.GroupVersionResource) []types.UID {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var result []types.UID
	for uid, known := range c.nodes {
		if known.resource.GroupVersionResource == gvr {
			result = append(result, uid)
		}
	}
	return result
}

func (c *collector) put(n node) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if before, ok := c.nodes[n.UID]; ok {
		c.unlink(before)
	}
	c.nodes[n.UID] = n
	for _, owner := range n.OwnerReferences {
		if c.children[owner.UID] == nil {
			c.children[owner.UID] = map[types.UID]bool{}
		}
		c.children[owner.UID][n.UID] = true
	}
	if n.DeletionTimestamp != nil {
		// What was just made to depend on it may not have been seen yet.
		c.queue.AddAfter(n.UID, 200*time.Millisecond)
	}
	if len(n.OwnerReferences) > 0 {
		c.queue.Add(n.UID)
	}
	if n.DeletionTimestamp != nil {
		for child := range c.children[n.UID] {
			c.queue.Add(child)
		}
	}
}

func (c *collector) unlink(n node) {
	for _, owner := range n.OwnerReferences {
		delete(c.children[owner.UID], n.UID)
		if len(c.children[owner.UID]) == 0 {
			delete(c.children, owner.UID)
		}
	}
}

func (c *collector) remove(uid types.UID) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	n, ok := c.nodes[uid]
	if !ok {
		return
	}
	c.unlink(n)
	delete(c.nodes, uid)
	for child := range c.children[uid] {
		c.queue.Add(child)
	}
	for _, owner := range n.OwnerReferences {
		c.queue.Add(owner.UID)
	}
}

func (c *collector) get(uid types.UID) (node, []node, bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var dependents []node
	for child := range c.children[uid] {
		dependents = append(dependents, c.nodes[child])
	}
	n, ok := c.nodes[uid]
	return n, dependents, ok
}

func (c *collector) work(ctx context.Context) bool {
	uid, closed := c.queue.Get()
	if closed {
		return false
	}
	defer c.queue.Done(uid)
	err := c.collect(ctx, uid)
	if err == nil || apierrors.IsNotFound(err) {
		c.queue.Forget(uid)
		return true
	}
	if !apierrors.IsConflict(err) {
		klog.ErrorS(err, "garbage not collected", "uid", uid)
	}
	c.queue.AddRateLimited(uid)
	return true
}

func (c *collector) collect(ctx context.Context, uid types.UID) error {
	n, dependents, ok := c.get(uid)
	if !ok {
		return nil
	}
	if n.DeletionTimestamp == nil {
		return c.judge(ctx, n, dependents)
	}
	if slices.Contains(n.Finalizers, metav1.FinalizerOrphanDependents) {
		for _, dependent := range dependents {
			if err := c.dropOwners(ctx, dependent, []types.UID{uid}); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		return c.dropFinalizer(ctx, n, metav1.FinalizerOrphanDependents)
	}
	if slices.Contains(n.Finalizers, metav1.FinalizerDeleteDependents) {
		blocking := slices.ContainsFunc(dependents, func(dependent node) bool {
			return slices.ContainsFunc(dependent.OwnerReferences, func(owner metav1.OwnerReference) bool {
				return owner.UID == uid && owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion
			})
		})
		if !blocking {
			return c.dropFinalizer(ctx, n, metav1.FinalizerDeleteDependents)
		}
	}
	return nil
}

// judge decides on an object that is not being deleted, from the state of its owners.
func (c *collector) judge(ctx context.Context, n node, dependents []node) error {
	var gone []types.UID
	waiting, solid := false, false
	for _, owner := range n.OwnerReferences {
		found, err := c.owner(ctx, n, owner)
		switch {
		case err != nil:
			return err
		case found == nil:
			gone = append(gone, owner.UID)
		case found.DeletionTimestamp != nil && slices.Contains(found.Finalizers, metav1.FinalizerDeleteDependents):
			waiting = true
			gone = append(gone, owner.UID)
		default:
			solid = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if solid {
		return c.dropOwners(ctx, n, gone)
	}
	propagation := metav1.DeletePropagationBackground
	if waiting && len(dependents) > 0 {
		propagation = metav1.DeletePropagationForeground
	}
	preconditions := &metav1.Preconditions{UID: &n.UID, ResourceVersion: &n.ResourceVersion}
	return c.objects(n.resource, n.Namespace).Delete(ctx, n.Name, metav1.DeleteOptions{PropagationPolicy: &propagation, Preconditions: preconditions})
}

// owner is the owner as the server has it; nil when there is no such object.
func (c *collector) owner(ctx context.Context, n node, owner metav1.OwnerReference) (*metav1.PartialObjectMetadata, error) {
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	if err != nil {
		return &metav1.PartialObjectMetadata{}, nil
	}
	known := c.resources()
	index := slices.IndexFunc(known, func(r resource) bool { return r.Group == version.Group && r.kind == owner.Kind })
	if index < 0 {
		// Of an unknown kind nothing can be said.
		return &metav1.PartialObjectMetadata{}, nil
	}
	r := known[index]
	found, err := c.objects(r, n.Namespace).Get(ctx, owner.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && found.UID != owner.UID {
		return nil, nil
	}
	return found, err
}

func (c *collector) objects(r resource, namespace string) metadata.ResourceInterface {
	if r.namespaced {
		return c.client.Resource(r.GroupVersionResource).Namespace(namespace)
	}
	return c.client.Resource(r.GroupVersionResource)
}

func (c *collector) dropOwners(ctx context.Context, n node, uids []types.UID) error {
	owners := slices.DeleteFunc(slices.Clone(n.OwnerReferences), func(owner metav1.OwnerReference) bool { return slices.Contains(uids, owner.UID) })
	return c.patch(ctx, n, map[string]any{"ownerReferences": owners})
}

func (c *collector) dropFinalizer(ctx context.Context, n node, finalizer string) error {
	finalizers := slices.DeleteFunc(slices.Clone(n.Finalizers), func(name string) bool { return name == finalizer })
	return c.patch(ctx, n, map[string]any{"finalizers": finalizers})
}

func (c *collector) patch(ctx context.Context, n node, change map[string]any) error {
	change["resourceVersion"], change["uid"] = n.ResourceVersion, n.UID
	patch, err := json.Marshal(map[string]any{"metadata": change})
	if err != nil {
		return err
	}
	_, err = c.objects(n.resource, n.Namespace).Patch(ctx, n.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
