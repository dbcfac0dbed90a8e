use super::{volume::source_of, *};

fn csi(name: &str, handle: &str, claim: Option<(&str, &str)>, phase: &str) -> Value {
    let claim = claim.map(|(claim, uid)| json!({"namespace": "shop", "name": claim, "uid": uid}));
    json!({"metadata": {"name": name}, "status": {"phase": phase}, "spec": {"claimRef": claim,
        "capacity": {"storage": "1Gi"}, "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": handle, "fsType": "ext4"}}})
}

/// The fate of the backup's `pv`, for the claim `shop/data`, if these are live.
fn fate_of(live: &[Value], claims: &[(&str, &str)]) -> String {
    let held = [csi("pv", "vol-1", Some(("data", "old")), "Bound"), csi("twin", "vol-2", Some(("twin", "x")), "Bound")];
    let held = held.iter().map(Volume::of).map(|volume| (volume.name.clone(), volume)).collect();
    let mut there = Live::default();
    live.iter().map(Volume::of).for_each(|volume| there.add(volume));
    there.claims = claims.iter().map(|(name, uid)| ((*name).to_owned(), (*uid).to_owned())).collect();
    let claims = BTreeMap::from([("shop/data".to_owned(), "pv".to_owned())]);
    let adoption = decide(&claims, &held, &there);
    match (&adoption.volumes["pv"], adoption.refuses(CLAIMS, "shop", "data")) {
        (Fate::Refused(why), Some(of_claim)) => {
            assert!(of_claim.ends_with(why.as_str()), "{of_claim}");
            why.clone()
        }
        (fate, None) => format!("{fate:?}"),
        (fate, Some(why)) => panic!("{fate:?} {why}"),
    }
}

#[test]
fn a_volume_that_is_not_live_is_adopted_and_one_that_another_has_is_refused() {
    let data = |uid| Some(("data", uid));
    for (live, claims, expected) in [
        (vec![], vec![], "Adopt"),
        (vec![csi("other", "vol-9", None, "Bound")], vec![], "Adopt"),
        (vec![csi("pv", "vol-1", data(""), "Available")], vec![], "Adopt"),
        (vec![csi("pv", "vol-1", data("gone"), "Released")], vec![], "Free"),
        (vec![csi("pv", "vol-1", data("gone"), "Released")], vec![("shop/data", "new")], "Free"),
        (vec![csi("pv", "vol-1", None, "Available")], vec![], "Free"),
        (vec![csi("pv", "vol-1", data("now"), "Bound")], vec![("shop/data", "now")], "InPlace"),
        (
            vec![csi("pv", "vol-1", Some(("web", "x")), "Bound")],
            vec![],
            "PersistentVolume pv is Bound, for claim shop/web",
        ),
        (
            vec![csi("pv", "vol-7", None, "Available")],
            vec![],
            "the cluster has another volume of the name pv (Available)",
        ),
        (
            vec![csi("new", "vol-1", Some(("web", "x")), "Bound")],
            vec![],
            "what is behind it is in the cluster already, as PersistentVolume new (Bound, for claim shop/web)",
        ),
        (
            vec![csi("new", "vol-1", None, "Available")],
            vec![],
            "what is behind it is in the cluster already, as PersistentVolume new (Available)",
        ),
        (vec![csi("twin", "vol-2", Some(("twin", "x")), "Bound")], vec![], "Adopt"),
    ] {
        assert_eq!(fate_of(&live, &claims), expected, "{live:?}");
    }
    let held = BTreeMap::from([("pv".to_owned(), Volume::of(&csi("pv", "vol-1", data("old"), "Bound")))]);
    let with =
        |volume: &str| Live { bound: HashMap::from([("shop/data".to_owned(), volume.to_owned())]), ..Live::default() };
    assert!(
        matches!(fate(&held["pv"], &held, &with("another")), Fate::Refused(why) if why.ends_with("has volume another"))
    );
    for volume in ["pv", ""] {
        assert_eq!(fate(&held["pv"], &held, &with(volume)), Fate::Adopt, "{volume}");
    }
    let mut going = csi("pv", "vol-1", data("gone"), "Released");
    going["metadata"]["deletionTimestamp"] = json!("2026-11-21T11:52:43Z");
    assert_eq!(fate_of(&[going], &[]), "PersistentVolume pv is being deleted");
}

#[test]
fn a_claim_whose_volume_is_not_in_the_backup_or_was_anothers_is_refused() {
    let claims = BTreeMap::from([("shop/data".to_owned(), "pv".to_owned()), ("shop/b".to_owned(), "b".to_owned())]);
    let held = BTreeMap::from([("b".to_owned(), Volume::of(&csi("b", "vol-1", Some(("other", "x")), "Bound")))]);
    let adoption = decide(&claims, &held, &Live::default());
    let why = adoption.refuses(CLAIMS, "shop", "data").unwrap();
    assert!(why.ends_with("the backup does not hold PersistentVolume pv"), "{why}");
    let why = adoption.refuses(CLAIMS, "shop", "b").unwrap();
    assert!(why.ends_with("PersistentVolume b was not bound to it (Bound, for claim shop/other)"), "{why}");
    assert_eq!(adoption.refuses(CLAIMS, "shop", "c"), None);
    assert_eq!(adoption.refuses("secrets", "shop", "data"), None);
}

#[test]
fn what_is_behind_a_volume_is_known_by_what_tells_disks_apart() {
    let volume = |spec: Value| source_of(&json!({"spec": spec}));
    let one = volume(json!({"csi": {"driver": "d", "volumeHandle": "1", "fsType": "ext4"}, "capacity": {}}));
    assert_eq!(
        one,
        volume(json!({"csi": {"volumeHandle": "1", "driver": "d", "readOnly": true}, "volumeMode": "Block"}))
    );
    assert_ne!(one, volume(json!({"csi": {"driver": "d", "volumeHandle": "2"}})));
    assert_ne!(one, volume(json!({"csi": {"driver": "e", "volumeHandle": "1"}})));
    let local = |node: &str| volume(json!({"local": {"path": "/a"}, "nodeAffinity": {"required": node}}));
    assert_ne!(local("a"), local("b"), "the same path on another node");
    assert_ne!(volume(json!({"hostPath": {"path": "/a"}})), volume(json!({"hostPath": {"path": "/b"}})));
    for odd in [json!({}), json!({"a": {}, "b": {}}), json!({"csi": 3}), Value::Null] {
        assert_eq!(volume(odd), "", "nothing is known of it");
    }
}

#[test]
fn the_patch_gives_a_live_volume_to_its_claim_and_holds_only_for_what_was_seen() {
    let volume = json!({"spec": {"claimRef": {"namespace": "shop", "name": "data"}}});
    let live = json!({"metadata": {"uid": "u", "resourceVersion": "7"}});
    let patch = patch(&volume, &live);
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    assert_eq!(
        patch["spec"],
        json!({"claimRef": {"namespace": "shop", "name": "data", "uid": null, "resourceVersion": null},
               "persistentVolumeReclaimPolicy": "Retain"})
    );
}
