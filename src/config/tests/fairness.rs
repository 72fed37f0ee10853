//! Guarantees, half-lives, patience and claims: what is read, and a wrong text for every rule.

use super::*;

#[test]
fn guarantees_half_lives_and_patience_are_read() {
    let config = parse(
        r#"
        [policy]
        half_life = "1h"
        patience = "never"
        claims_max = 0
        claim_expiry = "2h"
        [queues.maps]
        min = { cpus = 4, mem = "8GiB" }
        patience = "90s"
        policy = { name = "weighted", resource = "cpus", half_life = "1d" }
        [queues."maps/a"]
        patience = "never"
        "#,
    )
    .unwrap()
    .engine;
    assert_eq!(
        (&*config.policy.name, config.policy.half_life),
        ("drf", Some(Duration::from_secs(3600)))
    );
    let claims = ClaimSettings {
        patience: Deadline::Never,
        max: 0,
        expiry: Deadline::After(Duration::from_secs(7200)),
    };
    assert_eq!(config.claims, claims);
    let [maps, below] = &config.queues[..] else {
        panic!("two queues")
    };
    assert_eq!(
        maps.min,
        [("cpus".into(), units(4)), ("mem".into(), units(8192))]
    );
    assert_eq!(
        maps.patience,
        Some(Deadline::After(Duration::from_secs(90)))
    );
    let policy = maps.policy.as_ref().unwrap();
    assert_eq!(policy.half_life, Some(Duration::from_secs(86_400)));
    assert_eq!(below.patience, Some(Deadline::Never));
    assert_eq!(
        Config::default_local().engine.claims,
        ClaimSettings::default()
    );
}

#[test]
fn half_lives_patience_and_claims_that_are_wrong() {
    insta::assert_snapshot!(errors("[policy]\nhalf_life = \"0s\"\npatience = 10\nclaims_max = 1001\nclaim_expiry = \"0s\"\n[queues.a]\npatience = \"soon\"\npolicy = { name = \"fifo\", half_life = \"1h\" }\n[queues.b]\npolicy = { name = \"drf\", half_life = \"3651d\", claims_max = 1 }\n"), @r#"
    2:13: policy.half_life: must be from 1s to 3650d, but is 0s
    3:12: policy.patience: '10' has no unit; write one of ms, s, m, h, d, such as "10s"
    4:14: policy.claims_max: must be from 0 to 1000, but is 1001
    5:16: policy.claim_expiry: must be above 0, or "never", but is 0s
    7:12: queues.a.patience: 'soon' is not a duration; write a number with ms, s, m, h or d, such as "10s" or "1h 30m"
    8:27: queues.a.policy.half_life: the policy 'fifo' looks at no use, so there is nothing to forget; leave this away
    10:38: queues.b.policy.half_life: must be from 1s to 3650d, but is 9years 11months 28days 21h 50m 24s
    10:47: queues.b.policy.claims_max: unknown key; known here: name, resource, half_life
    "#);
    insta::assert_snapshot!(errors("[policy]\nresource = \"cpus\"\npatience = true\n"), @r#"
    2:1: policy.resource: the policy 'drf' takes no resource; leave this away, or write name = "weighted"
    3:12: policy.patience: must be a duration such as "10s", but is the boolean true
    "#);
}

#[test]
fn guarantees_that_are_wrong() {
    insta::assert_snapshot!(errors("[queues.a]\nmin = { cpus = \"1\", gpus = 1 }\n[queues.b]\nmin = 3\n"), @r#"
    2:16: queues.a.min.cpus: must be a number without quotes, but is the string "1"
    2:28: queues.a.min.gpus: unknown resource 'gpus'; did you mean 'cpus'?; known are cpus, mem; others are declared in [resources]
    4:7: queues.b.min: must be a table, but is the number 3
    "#);
}

#[test]
fn guarantees_that_cannot_be_kept() {
    let licences = "[resources.licences]\nscope = \"cluster\"\ncapacity = 10\n";
    insta::assert_snapshot!(errors(&format!("{licences}[queues.a]\nmin = {{ licences = 6 }}\n[queues.b]\n[queues.\"b/x\"]\nmin = {{ licences = 3 }}\n[queues.\"b/y\"]\nmin = {{ licences = 2 }}\n")), @r#"10:9: queues."b/y".min.licences: the guarantees of licences add up to 11, but the cluster has 10; lower one of them, or raise resources.licences.capacity"#);
    insta::assert_snapshot!(errors("[queues.a]\nmax = { cpus = 3, mem = \"1GiB\" }\n[queues.\"a/x\"]\nmin = { cpus = 4, mem = 600 }\n[queues.\"a/y\"]\nmin = { mem = 600 }\nmax = { mem = 100 }\n[queues.c]\nmin = { cpus = 1 }\nmax = { cpus = 0.5 }\n"), @r#"
    4:9: queues."a/x".min.cpus: the guarantee of 4 is above the max of queue 'a', which is 3; lower it, or raise the max
    6:9: queues."a/y".min.mem: the guarantee of 600MiB is above the max of queue 'a/y', which is 100MiB; lower it, or raise the max
    9:9: queues.c.min.cpus: the guarantee of 1 is above the max of queue 'c', which is 0.5; lower it, or raise the max
    "#);
    insta::assert_snapshot!(errors("[queues.a]\nmax = { mem = \"1GiB\" }\n[queues.\"a/x\"]\nmin = { mem = 600 }\n[queues.\"a/y\"]\nmin = { mem = 600 }\n"), @r#"6:9: queues."a/y".min.mem: the guarantees of mem below queue 'a' add up to 1200MiB, but its max is 1GiB; lower one of them, or raise the max"#);
    let fitting = "[queues.a]\nmin = { licences = 6 }\n[queues.b]\nmin = { licences = 4 }\nmax = { licences = 4 }\n[queues.\"b/x\"]\nmin = { licences = 4 }\n";
    assert!(parse(&format!("{licences}{fitting}")).is_ok());
}
