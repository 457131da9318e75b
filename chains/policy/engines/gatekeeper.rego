package chainsimageevidence

# The provider must answer about every image that an object asks to run, about no other, and always that it passes
# by this policy. Everything else is a violation: silence never admits.

templated := {"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Job"}

pod_of(item) = item.spec { input.review.kind.kind == "Pod" }

pod_of(item) = item.spec.template.spec { templated[input.review.kind.kind] }

pod_of(item) = item.spec.jobTemplate.spec.template.spec { input.review.kind.kind == "CronJob" }

pod_of(item) = item.template.spec { input.review.kind.kind == "PodTemplate" }

containers := {"initContainers", "containers", "ephemeralContainers"}

places_of(pod) = in_containers(pod) | in_volumes(pod)

in_containers(pod) = {[group, name_of(item), item.image] | group := containers[_]; item := pod[group][_]}

in_volumes(pod) = {["volumes", name_of(item), item.image.reference] | item := pod.volumes[_]}

name_of(item) = object.get(item, "name", "")

# An update is asked about what it changes: labels of a pod that runs must stay writable.
default before = set()

before = places_of(pod_of(input.review.oldObject)) { input.review.operation == "UPDATE" }

# What is deleted may be deleted.
default named = set()

named = places_of(pod_of(input.review.object)) { input.review.operation != "DELETE" }

# A template may leave an image empty, as the pod that is made of it may not.
asked := {image | [_, _, image] := (named - before)[_]} - {""}

answer := external_data({"provider": input.parameters.provider, "keys": [image | asked[image]]}) { count(asked) > 0 }

good := {"VERIFIED", "EXEMPT", "UNMATCHED"}

is_pass(value) {
  good[value.verdict]
  value.policy == input.parameters.policy
  is_listed(value.policyDigest)
}

is_listed(_) { count(object.get(input.parameters, "policyDigests", [])) == 0 }

is_listed(digest) { digest == input.parameters.policyDigests[_] }

refused[image] { [image, _] := answer.errors[_] }

answered[image] { [image, _] := answer.responses[_] }

answered[image] { refused[image] }

is_undecided { answer.system_error != "" }

# Without this list a constraint reports all three kinds.
is_reported(_) { count(object.get(input.parameters, "report", [])) == 0 }

is_reported(kind) { kind == input.parameters.report[_] }

kind_of(why) = "missing" { startswith(why, "NOT_FOUND ") }

kind_of(why) = "failed" { not startswith(why, "NOT_FOUND ") }

violation[{"msg": told(msg)}] {
  [image, why] := answer.errors[_]
  is_reported(kind_of(why))
  msg := sprintf("%v: %v", [image, why])
}

violation[{"msg": told(msg)}] {
  is_undecided
  is_reported("undecided")
  msg := sprintf("no decision was possible: %v", [answer.system_error])
}

violation[{"msg": told(msg)}] {
  [image, value] := answer.responses[_]
  not is_pass(value)
  is_reported("failed")
  msg := sprintf("%v: the provider's answer is not one of this policy", [image])
}

violation[{"msg": told(msg)}] {
  asked[image]
  not answered[image]
  not is_undecided
  is_reported("failed")
  msg := sprintf("%v: the provider did not answer", [image])
}

violation[{"msg": told(msg)}] {
  answered[image]
  not asked[image]
  is_reported("failed")
  msg := sprintf("the provider answered about %v, which was not asked", [image])
}

violation[{"msg": told(msg)}] {
  input.review.operation != "DELETE"
  not pod_of(input.review.object)
  is_reported("failed")
  msg := sprintf("it is not known where an object of kind %v names images", [input.review.kind.kind])
}

told(msg) = sprintf("policy %v: %v", [input.parameters.policy, msg])
