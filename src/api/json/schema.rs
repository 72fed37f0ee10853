//! Shapes that only the OpenAPI document sees, where the code reads by hand.
#![allow(dead_code, reason = "only the OpenAPI document sees these types")]

use utoipa::ToSchema;

/// A number with at most three decimals, or a text: an amount, or a size or duration with its unit.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum NumberOrText {
    /// Without a unit.
    Number(f64),
    /// With a unit where there is one.
    Text(String),
}

/// The id of a task, or the key under which tasks were submitted.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum IdOrKey {
    /// An id.
    Id(u64),
    /// A key: all tasks submitted with it.
    Key(String),
}
