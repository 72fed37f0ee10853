//! Every metric of the daemon, declared in one place: name, unit, help, labels.
