package main

// Every kind of object that the server has at this moment, built in or by CustomResourceDefinition, for the two controllers
// that look at all of them: garbage.go and namespaces.go.

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdlisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"reflect"
)

type resource struct {
	schema.GroupVersionResource
	kind       string
	namespaced bool
}

func builtinResources() []resource {
	var result []resource
	for _, g := range groups {
		for _, k := range g.kinds {
			result = append(result, resource{g.version.WithResource(k.plural), reflect.TypeOf(k.object).Elem().Name(), k.namespaced})
		}
	}
	return result
}

func isEvent(r resource) bool {
	return r.Group == corev1.GroupName && r.Resource == "events"
}

func customResources(lister crdlisters.CustomResourceDefinitionLister) []resource {
	var result []resource
	definitions, _ := lister.List(labels.Everything())
	for _, definition := range definitions {
		if !isEstablished(definition) {
			continue
		}
		for _, version := range definition.Spec.Versions {
			if version.Served {
				gvr := schema.GroupVersionResource{Group: definition.Spec.Group, Version: version.Name, Resource: definition.Spec.Names.Plural}
				result = append(result, resource{gvr, definition.Spec.Names.Kind, definition.Spec.Scope == apiextensionsv1.NamespaceScoped})
				break
			}
		}
	}
	return result
}

func isEstablished(definition *apiextensionsv1.CustomResourceDefinition) bool {
	if definition.DeletionTimestamp != nil {
		return false
	}
	for _, condition := range definition.Status.Conditions {
		if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
			return true
		}
	}
	return false
}
