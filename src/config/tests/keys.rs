//! Keys that nobody knows.

use super::*;

#[test]
fn unknown_keys_at_every_level() {
    insta::assert_snapshot!(errors("srever = 1\n[foo]\n[resources.r]\nscope = \"host\"\nsize = 1\n[policy]\nname = \"drf\"\nhalf_live = \"1h\"\n[backend.mesos]\nx = 1\n[tasks]\nlost_maximum = 1\n"), @r#"
    1:1: srever: unknown key; did you mean 'server'?; known here: server, policy, tasks, resources, queues, backend, metrics, traces, python
    2:2: foo: unknown key; known here: server, policy, tasks, resources, queues, backend, metrics, traces, python
    5:1: resources.r.size: unknown key; known here: scope, capacity, outside
    8:1: policy.half_live: unknown key; did you mean 'half_life'?; known here: name, resource, half_life, patience, claims_max, claim_expiry
    9:10: backend.mesos: is for kind = "mesos"
    12:1: tasks.lost_maximum: unknown key; known here: demand, kill_grace, lost_max, retry_pause, retry_pause_max, live_max, user, limits
    "#);
    insta::assert_snapshot!(errors("[queues.maps]\nwieght = 1\n[queues.maps.render]\nweight = 2\n"), @r#"
    2:1: queues.maps.wieght: unknown key; did you mean 'weight'?; known here: weight, min, max, policy, patience, queued_max, isolation, parameters, decision_log, user, limits
    3:14: queues.maps.render: unknown key; a queue below 'maps' is written [queues."maps/render"]; known here: weight, min, max, policy, patience, queued_max, isolation, parameters, decision_log, user, limits
    "#);
}
