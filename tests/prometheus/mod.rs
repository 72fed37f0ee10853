//! The rules and dashboards that come with Apportion, on Prometheus itself.

mod rules;
mod scraped;
mod server;
