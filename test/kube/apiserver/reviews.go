package main

// The kinds that are questions: who is this (TokenReview, SelfSubjectReview) and may he (SubjectAccessReview and its kin).
// Each is answered by the server's own authenticator and authorizer; none is stored.

import (
	"context"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// review is the storage of one such kind: make gives an empty one, answer fills in its status.
type review struct {
	make       func() runtime.Object
	answer     func(ctx context.Context, asked runtime.Object) error
	singular   string
	namespaced bool
}

func (r *review) New() runtime.Object     { return r.make() }
func (*review) Destroy()                  {}
func (r *review) NamespaceScoped() bool   { return r.namespaced }
func (r *review) GetSingularName() string { return r.singular }
func (r *review) Create(ctx context.Context, asked runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	answered := asked.DeepCopyObject()
	if err := r.answer(ctx, answered); err != nil {
		return nil, err
	}
	return answered, nil
}

func userInfoOf(info user.Info) authenticationv1.UserInfo {
	extra := map[string]authenticationv1.ExtraValue{}
	for key, values := range info.GetExtra() {
		extra[key] = values
	}
	return authenticationv1.UserInfo{Username: info.GetName(), UID: info.GetUID(), Groups: info.GetGroups(), Extra: extra}
}

func authenticationReviews(tokens authenticator.Token, ownAudiences authenticator.Audiences) map[string]rest.Storage {
	return map[string]rest.Storage{
		"tokenreviews": &review{
			make: func() runtime.Object { return &authenticationv1.TokenReview{} }, singular: "tokenreview",
			answer: func(ctx context.Context, asked runtime.Object) error {
				token := asked.(*authenticationv1.TokenReview)
				token.Status = authenticationv1.TokenReviewStatus{}
				audiences := authenticator.Audiences(token.Spec.Audiences)
				if len(audiences) == 0 {
					audiences = ownAudiences
				}
				response, ok, err := tokens.AuthenticateToken(authenticator.WithAudiences(ctx, audiences), token.Spec.Token)
				if err != nil {
					token.Status.Error = err.Error()
				} else if ok {
					token.Status.Authenticated = true
					token.Status.User = userInfoOf(response.User)
					token.Status.Audiences = response.Audiences
				}
				return nil
			},
		},
		"selfsubjectreviews": &review{
			make: func() runtime.Object { return &authenticationv1.SelfSubjectReview{} }, singular: "selfsubjectreview",
			answer: func(ctx context.Context, asked runtime.Object) error {
				who, _ := request.UserFrom(ctx)
				asked.(*authenticationv1.SelfSubjectReview).Status.UserInfo = userInfoOf(who)
				return nil
			},
		},
	}
}

func authorizationReviews(rules authorizer.RuleResolver, judge authorizer.Authorizer) map[string]rest.Storage {
	verdict := func(ctx context.Context, who user.Info, resource *authorizationv1.ResourceAttributes, other *authorizationv1.NonResourceAttributes) (authorizationv1.SubjectAccessReviewStatus, error) {
		asked := authorizer.AttributesRecord{User: who}
		switch {
		case resource != nil:
			asked.ResourceRequest, asked.Verb, asked.Namespace = true, resource.Verb, resource.Namespace
			asked.APIGroup, asked.APIVersion, asked.Resource = resource.Group, resource.Version, resource.Resource
			asked.Subresource, asked.Name = resource.Subresource, resource.Name
		case other != nil:
			asked.Verb, asked.Path = other.Verb, other.Path
		default:
			return authorizationv1.SubjectAccessReviewStatus{}, apierrors.NewBadRequest("exactly one of resourceAttributes and nonResourceAttributes must be given")
		}
		decision, reason, err := judge.Authorize(ctx, asked)
		status := authorizationv1.SubjectAccessReviewStatus{Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason}
		if err != nil {
			status.EvaluationError = err.Error()
		}
		return status, nil
	}
	subject := func(spec authorizationv1.SubjectAccessReviewSpec) user.Info {
		extra := map[string][]string{}
		for key, values := range spec.Extra {
			extra[strings.ToLower(key)] = values
		}
		return &user.DefaultInfo{Name: spec.User, UID: spec.UID, Groups: spec.Groups, Extra: extra}
	}
	return map[string]rest.Storage{
		"subjectaccessreviews": &review{
			make: func() runtime.Object { return &authorizationv1.SubjectAccessReview{} }, singular: "subjectaccessreview",
			answer: func(ctx context.Context, asked runtime.Object) (err error) {
				typed := asked.(*authorizationv1.SubjectAccessReview)
				typed.Status, err = verdict(ctx, subject(typed.Spec), typed.Spec.ResourceAttributes, typed.Spec.NonResourceAttributes)
				return err
			},
		},
		"localsubjectaccessreviews": &review{
			make: func() runtime.Object { return &authorizationv1.LocalSubjectAccessReview{} }, singular: "localsubjectaccessreview", namespaced: true,
			answer: func(ctx context.Context, asked runtime.Object) (err error) {
				typed := asked.(*authorizationv1.LocalSubjectAccessReview)
				typed.Status, err = verdict(ctx, subject(typed.Spec), typed.Spec.ResourceAttributes, typed.Spec.NonResourceAttributes)
				return err
			},
		},
		"selfsubjectaccessreviews": &review{
			make: func() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} }, singular: "selfsubjectaccessreview",
			answer: func(ctx context.Context, asked runtime.Object) (err error) {
				typed := asked.(*authorizationv1.SelfSubjectAccessReview)
				who, _ := request.UserFrom(ctx)
				typed.Status, err = verdict(ctx, who, typed.Spec.ResourceAttributes, typed.Spec.NonResourceAttributes)
				return err
			},
		},
		"selfsubjectrulesreviews": &review{
			make: func() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} }, singular: "selfsubjectrulesreview",
			answer: func(ctx context.Context, asked runtime.Object) error {
				typed := asked.(*authorizationv1.SelfSubjectRulesReview)
				who, _ := request.UserFrom(ctx)
				resources, others, incomplete, err := rules.RulesFor(ctx, who, typed.Spec.Namespace)
				typed.Status = authorizationv1.SubjectRulesReviewStatus{Incomplete: incomplete, ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
				for _, rule := range resources {
					typed.Status.ResourceRules = append(typed.Status.ResourceRules, authorizationv1.ResourceRule{Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames()})
				}
				for _, rule := range others {
					typed.Status.NonResourceRules = append(typed.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs()})
				}
				return err
			},
		},
	}
}
