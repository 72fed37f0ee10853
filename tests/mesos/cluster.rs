//! That the cluster of the other tests is what they take it for.

use crate::support::mesos::{Part, Setup};

#[test]
fn parts_can_be_killed_and_come_back_as_who_they_were() {
    let Some(mut mesos) = Setup::agents(2)
        .resources("cpus:3;mem:512;disk:100;licences:2")
        .flag("MESOS_ALLOCATION_INTERVAL", "50ms")
        .start()
    else {
        return;
    };
    let state = mesos.state();
    assert_eq!(state["version"], "1.11.0");
    assert_eq!(state["flags"]["allocation_interval"], "50ms");
    for agent in state["slaves"].as_array().unwrap() {
        assert_eq!(agent["resources"]["cpus"], 3.0);
        assert_eq!(agent["resources"]["licences"], 2.0);
    }
    let ids = [mesos.agent_id(0), mesos.agent_id(1)];
    mesos.kill(Part::Agent(1));
    mesos.start(Part::Agent(1));
    mesos.kill(Part::Master);
    mesos.start(Part::Master);
    mesos.wait_for_agents(2);
    assert_eq!([mesos.agent_id(0), mesos.agent_id(1)], ids);
    assert_eq!(mesos.processes(), [], "no container runs");
}
