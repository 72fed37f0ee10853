//! Reading paths and queries: unknown and repeated parameters are errors, like unknown fields of bodies.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;

use super::ApiError;
use crate::engine::TaskId;

/// The parameters of a query by name, each with its values in order.
#[derive(Debug, Default)]
pub(super) struct Parameters(BTreeMap<String, Vec<String>>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::field("the query", error.body_text()))?;
        let mut parameters = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in pairs {
            parameters.entry(name).or_default().push(value);
        }
        Ok(Self(parameters))
    }
}

impl Parameters {
    /// Takes a parameter that stands there at most once.
    pub(super) fn one(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.many(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(ApiError::field(name, "stands in the query twice")),
        }
    }

    /// The same, read as a number.
    pub(super) fn number<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        let value = self.one(name)?;
        value
            .map(|value| {
                value.parse().map_err(|_| {
                    ApiError::field(name, format!("'{value}' is not a number in its range"))
                })
            })
            .transpose()
    }

    /// The same, read as an id or a place: as large as the document says, 63 bits.
    pub(super) fn natural(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        let number = self.number::<i64>(name)?;
        let natural = number.map(u64::try_from).transpose();
        natural.map_err(|_| ApiError::field(name, "is not a number in its range"))
    }

    /// The same, read as seconds to wait, cut at `max`.
    pub(super) fn wait(&mut self, name: &str, max: f64) -> Result<f64, ApiError> {
        let seconds = self.number::<f64>(name)?.unwrap_or_default();
        check_wait(name, seconds, max)
    }

    /// Takes all values of a parameter.
    pub(super) fn many(&mut self, name: &str) -> Vec<String> {
        self.0.remove(name).unwrap_or_default()
    }

    /// Refuses what was not taken.
    pub(super) fn end(self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) if known.is_empty() => Err(ApiError::field(
                name,
                "is unknown; this call takes no parameters",
            )),
            Some(name) => Err(ApiError::field(
                name,
                format!("is unknown; known: {}", known.join(", ")),
            )),
        }
    }
}

/// Seconds to wait, cut at `max`.
pub(super) fn check_wait(name: &str, seconds: f64, max: f64) -> Result<f64, ApiError> {
    if seconds.is_finite() && seconds >= 0.0 {
        Ok(seconds.min(max))
    } else {
        Err(ApiError::field(
            name,
            "must be a number of seconds, 0 or above",
        ))
    }
}

/// The id of a task in a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskPath(pub(super) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let NamePath(id) = NamePath::from_request_parts(parts, state).await?;
        match id.parse() {
            Ok(id) if id > 0 => Ok(Self(TaskId(id))),
            _ => Err(ApiError::field(
                "id",
                format!("'{id}' is no task id; ids are positive integers"),
            )),
        }
    }
}

/// A name in a path.
#[derive(Clone, Debug)]
pub(super) struct NamePath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name))
            .map_err(|error| ApiError::field("the path", error.body_text()))
    }
}
