use proptest::prelude::*;

use super::*;
use crate::sources::kubernetes::testing::kind;

fn of(namespaces: &[&str]) -> KubernetesSelection {
    KubernetesSelection { namespaces: strings(namespaces), ..KubernetesSelection::default() }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn kinds(ids: &[&str]) -> Vec<ObjectRule> {
    ids.iter().map(|id| ObjectRule::of_kind(*id)).collect()
}

fn unread(group: &str, aggregated: bool) -> Unread {
    Unread { group: group.to_owned(), version: "v1".to_owned(), aggregated, why: String::new() }
}

#[test]
fn include_beats_exclude_and_both_beat_the_defaults() {
    let metrics = Kind { aggregated: true, ..kind("pods.metrics.k8s.io") };
    let mut selection = of(&["shop"]);
    assert!(selection.takes_kind(&kind("secrets")));
    assert!(!selection.takes_kind(&kind("events.events.k8s.io")));
    assert!(!selection.takes_kind(&metrics), "another server's");
    selection.exclude = kinds(&["secrets", "*.example.com"]);
    assert!(!selection.takes_kind(&kind("secrets")));
    assert!(!selection.takes_kind(&kind("widgets.example.com")));
    assert!(selection.takes_kind(&kind("configmaps")));
    selection.include = kinds(&["widgets.example.com", "nodes", "*.metrics.k8s.io"]);
    assert!(selection.takes_kind(&kind("widgets.example.com")));
    assert!(selection.takes_kind(&kind("nodes")));
    assert!(selection.takes_kind(&metrics));
    selection.exclude = kinds(&["*"]);
    assert!(!selection.takes_kind(&kind("configmaps")));
    assert!(selection.takes_kind(&kind("nodes")));
}

#[test]
fn cluster_scoped_objects_follow_the_namespaces_unless_the_policy_says_otherwise() {
    assert_eq!(of(&["*"]).cluster_scoped(), ClusterScoped::All);
    assert_eq!(of(&["shop"]).cluster_scoped(), ClusterScoped::Referenced);
    assert_eq!(of(&["team-*"]).cluster_scoped(), ClusterScoped::Referenced);
    let said = KubernetesSelection { cluster_scoped: Some(ClusterScoped::None), ..of(&["*"]) };
    assert_eq!(said.cluster_scoped(), ClusterScoped::None);
}

#[test]
fn a_few_namespaces_are_listed_one_by_one_and_many_at_once() {
    let existing: Vec<String> = (0..30).map(|i| format!("team-{i:02}")).collect();
    assert_eq!(of(&["team-01", "gone"]).reach(&existing), Reach::Each(strings(&["team-01"])));
    assert_eq!(of(&["team-0?"]).reach(&existing), Reach::Each(existing[..10].to_vec()));
    assert_eq!(of(&["team-*"]).reach(&existing), Reach::Cluster);
    assert_eq!(of(&["*"]).reach(&existing[..2]), Reach::Cluster);
}

#[test]
fn only_namespaces_without_a_pattern_must_exist() {
    let mut selection = of(&["shop", "team-*", "payments"]);
    selection.exclude_namespaces = strings(&["pay*"]);
    assert_eq!(selection.named_namespaces().collect::<Vec<_>>(), ["shop"]);
    assert!(selection.takes_namespace("team-a") && !selection.takes_namespace("payments"));
}

#[test]
fn a_group_that_does_not_answer_is_missing_unless_it_would_have_been_left_out() {
    let mut selection = of(&["*"]);
    assert_eq!(selection.judge_unread(&unread("example.com", false)), Unanswered::Missing);
    assert_eq!(selection.judge_unread(&unread("metrics.k8s.io", true)), Unanswered::Note);
    selection.exclude = kinds(&["*.example.com", "pods.metrics.k8s.io"]);
    assert_eq!(selection.judge_unread(&unread("example.com", false)), Unanswered::Nothing);
    assert_eq!(selection.judge_unread(&unread("other.com", false)), Unanswered::Missing);
    selection.exclude = kinds(&["widgets.example.com"]);
    assert_eq!(selection.judge_unread(&unread("example.com", false)), Unanswered::Missing, "only one kind of it");
    selection.include = kinds(&["pods.metrics.k8s.io"]);
    assert_eq!(selection.judge_unread(&unread("metrics.k8s.io", true)), Unanswered::Missing, "it is named");
}

proptest! {
    #[test]
    fn a_group_is_judged_as_its_kinds_would_be(
        pattern in "[ab.*]{1,6}",
        group in "[ab]{1,2}\\.[ab]{1,2}",
        plurals in proptest::collection::vec("[ab]{1,3}", 1..20),
    ) {
        for plural in &plurals {
            let taken = matches(&pattern, &format!("{plural}.{group}"));
            prop_assert!(!taken || can_match_in(&pattern, &group), "{} takes {}.{}", pattern, plural, group);
            prop_assert!(taken || !matches_all_of(&pattern, &group), "{} does not take {}.{}", pattern, plural, group);
        }
    }
}

#[test]
fn a_pattern_that_names_another_group_names_no_kind_of_this_one() {
    for (pattern, some, all) in [
        ("*", true, true),
        ("*.example.com", true, true),
        ("*.lost.example.com", true, true),
        ("w*.lost.example.com", true, false),
        ("widgets.lost.*", true, false),
        ("widgets.example.com", false, false),
        ("*.other.example.com", false, false),
        ("lost.example.com", false, false),
        (".lost.example.com", false, false),
        ("secrets", false, false),
    ] {
        assert_eq!(can_match_in(pattern, "lost.example.com"), some, "{pattern}");
        assert_eq!(matches_all_of(pattern, "lost.example.com"), all, "{pattern}");
    }
    assert!(can_match_in("secrets", "") && !matches_all_of("secrets", "") && matches_all_of("*", ""));
}

/// The definition of a match, without regard for time.
fn slow_match(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|eaten| slow_match(rest, &text[eaten..])),
        Some((c, rest)) => {
            text.split_first().is_some_and(|(first, others)| (*c == '?' || c == first) && slow_match(rest, others))
        }
    }
}

proptest! {
    #[test]
    fn patterns_match_as_defined(pattern in "[ab*?]{0,8}", text in "[abc]{0,8}") {
        let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
        prop_assert_eq!(matches(&pattern, &text), slow_match(&p, &t));
    }

    #[test]
    fn a_name_matches_itself_only(name in "[a-z0-9-]{1,20}", other in "[a-z0-9-]{1,20}") {
        prop_assert!(matches(&name, &name));
        prop_assert_eq!(matches(&name, &other), name == other);
    }

    #[test]
    fn what_is_listed_one_by_one_is_just_what_is_taken(
        existing in proptest::collection::btree_set("[a-c]{1,3}", 0..30),
        namespaces in proptest::collection::vec("[a-c*]{1,3}", 0..4),
        exclude in proptest::collection::vec("[a-c*?]{1,3}", 0..3),
    ) {
        let existing: Vec<String> = existing.into_iter().collect();
        let selection = KubernetesSelection { namespaces, exclude_namespaces: exclude, ..KubernetesSelection::default() };
        if let Reach::Each(chosen) = selection.reach(&existing) {
            prop_assert!(chosen.len() <= LISTED_ONE_BY_ONE);
            for name in &existing {
                prop_assert_eq!(chosen.contains(name), selection.takes_namespace(name));
            }
        }
    }
}

#[test]
fn a_pattern_cannot_take_for_ever() {
    let pattern = format!("{}b", "*a".repeat(200));
    assert!(!matches(&pattern, &"a".repeat(4000)));
}

fn meta(namespace: &str, labels: &[(&str, &str)]) -> Meta {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    meta_of(namespace, &labels.collect())
}

fn meta_of(namespace: &str, labels: &BTreeMap<String, String>) -> Meta {
    serde_json::from_value(serde_json::json!({"namespace": namespace, "labels": labels})).unwrap()
}

fn rule(kinds: &[&str], namespaces: &[&str], selector: &str) -> ObjectRule {
    let selector = (!selector.is_empty()).then(|| selector.parse().unwrap());
    ObjectRule { kinds: strings(kinds), namespaces: strings(namespaces), selector }
}

#[test]
fn single_objects_are_excluded_and_included_by_namespace_and_label() {
    let mut selection = of(&["*"]);
    let secrets = kind("secrets");
    let takes = |selection: &KubernetesSelection, kind: &Kind, namespace: &str, labels: &[(&str, &str)]| {
        selection.takes_kind(kind) && selection.takes_object(kind, &meta(namespace, labels))
    };
    selection.exclude = vec![rule(&["secrets"], &["team-*"], ""), rule(&[], &[], "backup=no")];
    assert!(takes(&selection, &secrets, "shop", &[]));
    assert!(!takes(&selection, &secrets, "team-a", &[]));
    assert!(!takes(&selection, &secrets, "shop", &[("backup", "no")]));
    assert!(!takes(&selection, &kind("configmaps"), "shop", &[("backup", "no")]));
    selection.include = vec![rule(&["secrets"], &[], "keep=yes")];
    assert!(takes(&selection, &secrets, "team-a", &[("keep", "yes"), ("backup", "no")]));
    assert!(takes(&selection, &secrets, "shop", &[]), "include takes nothing away");
    // Only what has a label.
    selection.exclude = kinds(&["*"]);
    selection.include = vec![rule(&[], &[], "app=web")];
    assert!(takes(&selection, &secrets, "shop", &[("app", "web")]));
    assert!(!takes(&selection, &secrets, "shop", &[]));
    assert!(!takes(&selection, &kind("events.events.k8s.io"), "shop", &[("app", "web")]), "a label names no kind");
    // A rule of namespaces says nothing of what has none.
    selection.include.clear();
    selection.exclude = vec![rule(&[], &["*"], "")];
    assert!(takes(&selection, &kind("storageclasses.storage.k8s.io"), "", &[]));
    assert!(!takes(&selection, &secrets, "shop", &[]));
}

#[test]
fn a_kind_that_the_cluster_does_not_know_is_named_with_what_is_near() {
    let served = ["secrets", "deployments.apps", "widgets.example.com"].map(kind).to_vec();
    let discovery = Discovery::of(served, vec![unread("lost.example.com", true)]);
    let mut selection = of(&["shop"]);
    selection.include = kinds(&["secrets", "widgts.example.com", "nodes", "things.lost.example.com", "*.gone.org"]);
    selection.exclude = vec![rule(&["deployment", "deployment"], &["a"], ""), rule(&[], &[], "app=web")];
    let unknown = selection.unknown_kinds(&discovery);
    let shown: Vec<_> = unknown.iter().map(|kind| format!("{}: {}", kind.name, kind.near.join(" "))).collect();
    assert_eq!(shown, ["widgts.example.com: widgets.example.com", "deployment: deployments.apps"]);
    assert!(selection.names_kinds() && !of(&["shop"]).names_kinds());
}

fn any_rule() -> impl Strategy<Value = ObjectRule> {
    let some = |pattern: &'static str| proptest::collection::vec(pattern, 0..3);
    let selector = proptest::option::of("[xy]=[01]|!?[xy]").prop_map(|text| text.map(|text| text.parse().unwrap()));
    (some("[ab*]{1,2}(\\.[ab*])?"), some("[nm*?]{1,2}"), selector)
        .prop_map(|(kinds, namespaces, selector)| ObjectRule { kinds, namespaces, selector })
}

proptest! {
    /// The definition, without regard for when it is decided.
    #[test]
    fn an_object_is_taken_if_it_is_included_or_a_default_that_is_not_excluded(
        include in proptest::collection::vec(any_rule(), 0..3),
        exclude in proptest::collection::vec(any_rule(), 0..3),
        id in "[ab]{1,2}(\\.[ab])?|events|nodes",
        aggregated in proptest::bool::ANY,
        namespace in "[nm]{0,2}",
        labels in proptest::collection::btree_map("[xy]", "[01]", 0..3),
    ) {
        let kind = Kind { aggregated, ..kind(&id) };
        let meta = meta_of(&namespace, &labels);
        let by_default = !aggregated && kinds::left_out(&id).is_none();
        let is_meant = |rule: &ObjectRule| {
            (rule.kinds.is_empty() || rule.kinds.iter().any(|pattern| matches(pattern, &id)))
                && (rule.namespaces.is_empty()
                    || (!namespace.is_empty() && rule.namespaces.iter().any(|pattern| matches(pattern, &namespace))))
                && rule.selector.as_ref().is_none_or(|selector| selector.matches(&labels))
        };
        let included = include.iter().any(|rule| is_meant(rule) && (by_default || !rule.kinds.is_empty()));
        let expected = included || (by_default && !exclude.iter().any(is_meant));
        let selection = KubernetesSelection { include, exclude, ..of(&["*"]) };
        prop_assert_eq!(selection.takes_kind(&kind) && selection.takes_object(&kind, &meta), expected);
        // A kind of which nothing is taken is not even listed if kinds alone say so.
        prop_assert!(selection.takes_kind(&kind) || !selection.takes_object(&kind, &meta));
        let may = selection.takes_kind_in(&kind, &meta.namespace);
        prop_assert!(may || !selection.takes_object(&kind, &meta), "a list that is left out would have held it");
        prop_assert!(!may || selection.takes_kind(&kind), "a kind that is listed somewhere is listed at all");
    }
}
