package main

// The rules of kube-apiserver's RBAC authorizer, over the stored roles and bindings (the original is not among the
// libraries). Aggregated ClusterRoles are put together when they are asked for; the roles that every cluster has are made at
// the start, as far as the tests need them.

import (
	"context"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
)

type rbac struct {
	roles               rbaclisters.RoleLister
	roleBindings        rbaclisters.RoleBindingLister
	clusterRoles        rbaclisters.ClusterRoleLister
	clusterRoleBindings rbaclisters.ClusterRoleBindingLister
}

func newRBAC(informers rbacinformers.Interface) *rbac {
	return &rbac{informers.Roles().Lister(), informers.RoleBindings().Lister(), informers.ClusterRoles().Lister(), informers.ClusterRoleBindings().Lister()}
}

func (r *rbac) Authorize(_ context.Context, request authorizer.Attributes) (authorizer.Decision, string, error) {
	decision, why := authorizer.DecisionNoOpinion, ""
	r.visit(request.GetUser(), request.GetNamespace(), func(rule rbacv1.PolicyRule, binding string) bool {
		if !allows(rule, request) {
			return true
		}
		decision, why = authorizer.DecisionAllow, "RBAC: allowed by "+binding
		return false
	})
	return decision, why, nil
}

// RulesFor lists what a user may do in a namespace, for SelfSubjectRulesReview.
func (r *rbac) RulesFor(_ context.Context, who user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	var resources []authorizer.ResourceRuleInfo
	var others []authorizer.NonResourceRuleInfo
	r.visit(who, namespace, func(rule rbacv1.PolicyRule, _ string) bool {
		if len(rule.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
		}
		if len(rule.NonResourceURLs) > 0 {
			others = append(others, &authorizer.DefaultNonResourceRuleInfo{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
		return true
	})
	return resources, others, false, nil
}

// visit shows every rule that applies to the user, until the visitor answers false.
func (r *rbac) visit(who user.Info, namespace string, visitor func(rule rbacv1.PolicyRule, binding string) bool) {
	everything := labels.Everything()
	clusterBindings, _ := r.clusterRoleBindings.List(everything)
	for _, binding := range clusterBindings {
		if !concerns(binding.Subjects, who, "") {
			continue
		}
		for _, rule := range r.rulesOf(binding.RoleRef, "") {
			if !visitor(rule, "ClusterRoleBinding "+binding.Name) {
				return
			}
		}
	}
	if namespace == "" {
		return
	}
	bindings, _ := r.roleBindings.RoleBindings(namespace).List(everything)
	for _, binding := range bindings {
		if !concerns(binding.Subjects, who, namespace) {
			continue
		}
		for _, rule := range r.rulesOf(binding.RoleRef, namespace) {
			if !visitor(rule, "RoleBinding "+namespace+"/"+binding.Name) {
				return
			}
		}
	}
}

func (r *rbac) rulesOf(ref rbacv1.RoleRef, namespace string) []rbacv1.PolicyRule {
	if ref.Kind == "Role" {
		role, err := r.roles.Roles(namespace).Get(ref.Name)
		if err != nil {
			return nil
		}
		return role.Rules
	}
	role, err := r.clusterRoles.Get(ref.Name)
	if err != nil {
		return nil
	}
	rules := role.Rules
	if role.AggregationRule == nil {
		return rules
	}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			continue
		}
		parts, _ := r.clusterRoles.List(selector)
		for _, part := range parts {
			rules = append(slices.Clone(rules), part.Rules...)
		}
	}
	return rules
}

func concerns(subjects []rbacv1.Subject, who user.Info, namespace string) bool {
	return slices.ContainsFunc(subjects, func(subject rbacv1.Subject) bool {
		switch subject.Kind {
		case rbacv1.UserKind:
			return subject.Name == who.GetName()
		case rbacv1.GroupKind:
			return slices.Contains(who.GetGroups(), subject.Name)
		case rbacv1.ServiceAccountKind:
			in := subject.Namespace
			if in == "" {
				in = namespace
			}
			return who.GetName() == "system:serviceaccount:"+in+":"+subject.Name
		}
		return false
	})
}

func holds(list []string, value string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, value)
}

func allows(rule rbacv1.PolicyRule, request authorizer.Attributes) bool {
	if !holds(rule.Verbs, request.GetVerb()) {
		return false
	}
	if !request.IsResourceRequest() {
		return slices.ContainsFunc(rule.NonResourceURLs, func(url string) bool {
			prefix, open := strings.CutSuffix(url, "*")
			return url == request.GetPath() || open && strings.HasPrefix(request.GetPath(), prefix)
		})
	}
	resource, subresource := request.GetResource(), request.GetSubresource()
	if subresource != "" {
		resource += "/" + subresource
	}
	matches := holds(rule.Resources, resource) || subresource != "" && slices.Contains(rule.Resources, "*/"+subresource)
	named := len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, request.GetName())
	return matches && holds(rule.APIGroups, request.GetAPIGroup()) && named
}

func bootstrapRoles() ([]rbacv1.ClusterRole, []rbacv1.ClusterRoleBinding) {
	role := func(name string, rules ...rbacv1.PolicyRule) rbacv1.ClusterRole {
		return rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	}
	aggregate := func(name string, rules ...rbacv1.PolicyRule) rbacv1.ClusterRole {
		made := role("system:aggregate-to-"+name, rules...)
		made.Labels = map[string]string{"rbac.authorization.k8s.io/aggregate-to-" + name: "true"}
		return made
	}
	sum := func(name string, parts ...string) rbacv1.ClusterRole {
		made := role(name)
		made.AggregationRule = &rbacv1.AggregationRule{}
		for _, part := range parts {
			selector := metav1.LabelSelector{MatchLabels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-" + part: "true"}}
			made.AggregationRule.ClusterRoleSelectors = append(made.AggregationRule.ClusterRoleSelectors, selector)
		}
		return made
	}
	rule := func(apiGroup string, resources string, verbs string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{apiGroup}, Resources: strings.Fields(resources), Verbs: strings.Fields(verbs)}
	}
	common := "configmaps endpoints persistentvolumeclaims pods serviceaccounts services"
	read, write := "get list watch", "create update patch delete deletecollection"
	paths := rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/healthz", "/livez", "/readyz", "/version", "/version/"}}
	binding := func(name string, group string) rbacv1.ClusterRoleBinding {
		return rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: group}},
		}
	}
	return []rbacv1.ClusterRole{
			role("cluster-admin", rule("*", "*", "*"), rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}),
			sum("admin", "admin", "edit", "view"), sum("edit", "edit", "view"), sum("view", "view"),
			aggregate("admin", rule(rbacv1.GroupName, "roles rolebindings", read+" "+write)),
			aggregate("edit", rule("", common+" secrets", read+" "+write)),
			aggregate("view", rule("", common+" events namespaces", read), rule("events.k8s.io", "events", read)),
			role("system:discovery", paths),
			role("system:basic-user", rule("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"), rule("authentication.k8s.io", "selfsubjectreviews", "create")),
			role("system:auth-delegator", rule("authentication.k8s.io", "tokenreviews", "create"), rule("authorization.k8s.io", "subjectaccessreviews", "create")),
		}, []rbacv1.ClusterRoleBinding{
			binding("cluster-admin", user.SystemPrivilegedGroup),
			binding("system:discovery", user.AllAuthenticated),
			binding("system:basic-user", user.AllAuthenticated),
		}
}
