package main

// The built-in kinds that the server keeps, by group and version. One row a kind; storage.go makes a registry of each.

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

type kind struct {
	object, list runtime.Object
	plural       string
	namespaced   bool
	status       bool
	shortNames   []string
}

type apiGroup struct {
	version schema.GroupVersion
	kinds   []kind
}

var groups = []apiGroup{
	{corev1.SchemeGroupVersion, []kind{
		{&corev1.Namespace{}, &corev1.NamespaceList{}, "namespaces", false, true, []string{"ns"}},
		{&corev1.Node{}, &corev1.NodeList{}, "nodes", false, true, []string{"no"}},
		{&corev1.PersistentVolume{}, &corev1.PersistentVolumeList{}, "persistentvolumes", false, true, []string{"pv"}},
		{&corev1.ConfigMap{}, &corev1.ConfigMapList{}, "configmaps", true, false, []string{"cm"}},
		{&corev1.Endpoints{}, &corev1.EndpointsList{}, "endpoints", true, false, []string{"ep"}},
		{&corev1.Event{}, &corev1.EventList{}, "events", true, false, []string{"ev"}},
		{&corev1.LimitRange{}, &corev1.LimitRangeList{}, "limitranges", true, false, []string{"limits"}},
		{&corev1.PersistentVolumeClaim{}, &corev1.PersistentVolumeClaimList{}, "persistentvolumeclaims", true, true, []string{"pvc"}},
		{&corev1.Pod{}, &corev1.PodList{}, "pods", true, true, []string{"po"}},
		{&corev1.ResourceQuota{}, &corev1.ResourceQuotaList{}, "resourcequotas", true, true, []string{"quota"}},
		{&corev1.Secret{}, &corev1.SecretList{}, "secrets", true, false, nil},
		{&corev1.Service{}, &corev1.ServiceList{}, "services", true, true, []string{"svc"}},
		{&corev1.ServiceAccount{}, &corev1.ServiceAccountList{}, "serviceaccounts", true, false, []string{"sa"}},
	}},
	{appsv1.SchemeGroupVersion, []kind{
		{&appsv1.DaemonSet{}, &appsv1.DaemonSetList{}, "daemonsets", true, true, []string{"ds"}},
		{&appsv1.Deployment{}, &appsv1.DeploymentList{}, "deployments", true, true, []string{"deploy"}},
		{&appsv1.ReplicaSet{}, &appsv1.ReplicaSetList{}, "replicasets", true, true, []string{"rs"}},
		{&appsv1.StatefulSet{}, &appsv1.StatefulSetList{}, "statefulsets", true, true, []string{"sts"}},
	}},
	{batchv1.SchemeGroupVersion, []kind{
		{&batchv1.CronJob{}, &batchv1.CronJobList{}, "cronjobs", true, true, []string{"cj"}},
		{&batchv1.Job{}, &batchv1.JobList{}, "jobs", true, true, nil},
	}},
	{coordinationv1.SchemeGroupVersion, []kind{
		{&coordinationv1.Lease{}, &coordinationv1.LeaseList{}, "leases", true, false, nil},
	}},
	{discoveryv1.SchemeGroupVersion, []kind{
		{&discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{}, "endpointslices", true, false, nil},
	}},
	// The core group's events by another name; see events.go.
	{eventsv1.SchemeGroupVersion, nil},
	{networkingv1.SchemeGroupVersion, []kind{
		{&networkingv1.Ingress{}, &networkingv1.IngressList{}, "ingresses", true, true, []string{"ing"}},
		{&networkingv1.NetworkPolicy{}, &networkingv1.NetworkPolicyList{}, "networkpolicies", true, false, []string{"netpol"}},
	}},
	{policyv1.SchemeGroupVersion, []kind{
		{&policyv1.PodDisruptionBudget{}, &policyv1.PodDisruptionBudgetList{}, "poddisruptionbudgets", true, true, []string{"pdb"}},
	}},
	{rbacv1.SchemeGroupVersion, []kind{
		{&rbacv1.ClusterRole{}, &rbacv1.ClusterRoleList{}, "clusterroles", false, false, nil},
		{&rbacv1.ClusterRoleBinding{}, &rbacv1.ClusterRoleBindingList{}, "clusterrolebindings", false, false, nil},
		{&rbacv1.Role{}, &rbacv1.RoleList{}, "roles", true, false, nil},
		{&rbacv1.RoleBinding{}, &rbacv1.RoleBindingList{}, "rolebindings", true, false, nil},
	}},
	{schedulingv1.SchemeGroupVersion, []kind{
		{&schedulingv1.PriorityClass{}, &schedulingv1.PriorityClassList{}, "priorityclasses", false, false, []string{"pc"}},
	}},
	{storagev1.SchemeGroupVersion, []kind{
		{&storagev1.CSIDriver{}, &storagev1.CSIDriverList{}, "csidrivers", false, false, nil},
		{&storagev1.CSINode{}, &storagev1.CSINodeList{}, "csinodes", false, false, nil},
		{&storagev1.StorageClass{}, &storagev1.StorageClassList{}, "storageclasses", false, false, []string{"sc"}},
	}},
	{admissionregistrationv1.SchemeGroupVersion, []kind{
		{&admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyList{}, "mutatingadmissionpolicies", false, false, nil},
		{&admissionregistrationv1.MutatingAdmissionPolicyBinding{}, &admissionregistrationv1.MutatingAdmissionPolicyBindingList{}, "mutatingadmissionpolicybindings", false, false, nil},
		{&admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.MutatingWebhookConfigurationList{}, "mutatingwebhookconfigurations", false, false, nil},
		{&admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyList{}, "validatingadmissionpolicies", false, true, nil},
		{&admissionregistrationv1.ValidatingAdmissionPolicyBinding{}, &admissionregistrationv1.ValidatingAdmissionPolicyBindingList{}, "validatingadmissionpolicybindings", false, false, nil},
		{&admissionregistrationv1.ValidatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfigurationList{}, "validatingwebhookconfigurations", false, false, nil},
	}},
}
