//! Resources as Mesos says them, and the amounts that the engine counts.
//!
//! Only scalars count. An entry is used where it is unreserved or reserved for our role, may not be taken away
//! again, and is divisible; others (of another role, revocable, shared, a volume, of a resource provider) are
//! left alone. What a task gets is a piece of an entry with everything else of it kept: to Mesos, an entry that
//! differs in anything is another resource.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::Amount;

use crate::proto::mesos::v1::{self, Resource, value};

/// Amounts by name.
pub(crate) type ByName = BTreeMap<Arc<str>, Amount>;

/// The thousandths that Mesos itself counts; `None` where there is nothing, or no number.
fn milli(resource: &Resource) -> Option<u64> {
    let value = resource.scalar?.value * 1000.0;
    let is_sane = value.is_finite() && value >= 0.5 && value < Amount::MAX.milli() as f64;
    is_sane.then(|| value.round() as u64)
}

/// Whether tasks of this role may have a piece of an entry.
fn is_usable(resource: &Resource, role: &str) -> bool {
    let reserved_for_us = |reservations: &[v1::resource::ReservationInfo]| {
        let last = reservations.last();
        last.is_none_or(|last| last.role.as_deref() == Some(role))
    };
    let old_role = resource.role.as_deref().unwrap_or("*");
    resource.r#type == value::Type::Scalar as i32
        && reserved_for_us(&resource.reservations)
        && (old_role == "*" || old_role == role)
        && resource.revocable.is_none()
        && resource.shared.is_none()
        && resource.provider_id.is_none()
        && resource.disk.is_none()
}

/// The sum of what may be used, by name.
pub(crate) fn usable(resources: &[Resource], role: &str) -> ByName {
    let mut sums = ByName::new();
    for resource in resources.iter().filter(|entry| is_usable(entry, role)) {
        if let Some(amount) = milli(resource).and_then(Amount::from_milli) {
            add(&mut sums, resource.name.as_str().into(), amount);
        }
    }
    sums
}

/// Adds to a sum, up to the largest amount.
pub(super) fn add(sums: &mut ByName, name: Arc<str>, amount: Amount) {
    let sum = sums.entry(name).or_default();
    *sum = sum.checked_add(amount).unwrap_or(Amount::MAX);
}

/// Takes away from sums, down to nothing.
pub(super) fn subtract(sums: &mut ByName, amounts: &ByName) {
    for (name, amount) in amounts {
        if let Some(sum) = sums.get_mut(name) {
            *sum = sum.saturating_sub(*amount);
        }
    }
}

/// Sets each sum to at least this.
pub(super) fn raise(sums: &mut ByName, amounts: &ByName) {
    for (name, amount) in amounts {
        let sum = sums.entry(Arc::clone(name)).or_default();
        *sum = (*sum).max(*amount);
    }
}

/// A plain entry of so much, unreserved, for this role.
pub(crate) fn scalar(name: &str, milli: u64, role: &str) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar as i32,
        scalar: Some(value::Scalar {
            value: milli as f64 / 1000.0,
        }),
        allocation_info: Some(v1::resource::AllocationInfo {
            role: Some(role.to_owned()),
        }),
        ..Resource::default()
    }
}

/// What is left of some offers of one agent: usable entries, those that are reserved for us first.
#[derive(Clone, Debug)]
pub(super) struct Pool(Vec<(Resource, u64)>);

impl Pool {
    /// All that may be used of these entries.
    pub(super) fn new(resources: impl IntoIterator<Item = Resource>, role: &str) -> Self {
        let usable = resources.into_iter().filter(|entry| is_usable(entry, role));
        let mut entries: Vec<(Resource, u64)> = usable
            .filter_map(|entry| milli(&entry).map(|milli| (entry, milli)))
            .collect();
        let is_unreserved = |entry: &Resource| {
            entry.reservations.is_empty() && entry.role.as_deref().unwrap_or("*") == "*"
        };
        entries.sort_by_key(|(entry, _)| is_unreserved(entry));
        Self(entries)
    }

    /// How much of a resource is left, in thousandths.
    pub(super) fn left(&self, name: &str) -> u64 {
        let entries = self.0.iter().filter(|(entry, _)| entry.name == name);
        entries.map(|(_, milli)| milli).sum()
    }

    /// Cuts out so much of each of these, or nothing at all where something is too little.
    pub(super) fn take<'a>(
        &mut self,
        demand: impl Iterator<Item = (&'a str, u64)> + Clone,
    ) -> Option<Vec<Resource>> {
        if demand.clone().any(|(name, milli)| self.left(name) < milli) {
            return None;
        }
        let mut pieces = Vec::new();
        for (name, milli) in demand {
            let mut missing = milli;
            for (entry, left) in self.0.iter_mut().filter(|(entry, _)| entry.name == name) {
                let piece = missing.min(*left);
                if piece > 0 {
                    *left -= piece;
                    missing -= piece;
                    let scalar = Some(value::Scalar {
                        value: piece as f64 / 1000.0,
                    });
                    pieces.push(Resource {
                        scalar,
                        ..entry.clone()
                    });
                }
            }
        }
        Some(pieces)
    }

    /// Cuts out pieces of exactly this kind, or nothing at all.
    pub(super) fn take_exactly(&mut self, pieces: &[Resource]) -> bool {
        let before = self.clone();
        for piece in pieces {
            let wanted = milli(piece).unwrap_or(0);
            let same = |entry: &Resource| {
                Resource {
                    scalar: piece.scalar,
                    ..entry.clone()
                } == *piece
            };
            let found = self
                .0
                .iter_mut()
                .find(|(entry, left)| *left >= wanted && same(entry));
            match found {
                Some((_, left)) => *left -= wanted,
                None => {
                    *self = before;
                    return false;
                }
            }
        }
        true
    }
}

/// What constraints are compared with: the agent's attributes as texts, and its host's name as `hostname`.
pub(super) fn attributes(
    attributes: &[v1::Attribute],
    hostname: &str,
) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut texts = BTreeMap::from([("hostname".into(), hostname.into())]);
    for attribute in attributes {
        let text = match (&attribute.text, &attribute.scalar) {
            (Some(text), _) => text.value.clone(),
            (None, Some(scalar)) => scalar.value.to_string(),
            (None, None) => continue,
        };
        texts.insert(attribute.name.as_str().into(), text.into());
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, value: f64) -> Resource {
        Resource {
            scalar: Some(value::Scalar { value }),
            ..scalar(name, 0, "eng")
        }
    }

    fn reserved(entry: Resource, role: &str) -> Resource {
        Resource {
            reservations: vec![v1::resource::ReservationInfo {
                role: Some(role.to_owned()),
                ..Default::default()
            }],
            ..entry
        }
    }

    fn amounts(sums: &ByName) -> Vec<(&str, u64)> {
        sums.iter()
            .map(|(name, amount)| (&**name, amount.milli()))
            .collect()
    }

    #[test]
    fn scalars_count_in_thousandths_and_everything_strange_is_left_alone() {
        let ports = Resource {
            r#type: value::Type::Ranges as i32,
            ..entry("ports", 1.0)
        };
        let revocable = Resource {
            revocable: Some(Default::default()),
            ..entry("cpus", 4.0)
        };
        let volume = Resource {
            disk: Some(Default::default()),
            ..entry("disk", 4.0)
        };
        let of_old_role = Resource {
            role: Some("other".to_owned()),
            ..entry("cpus", 9.0)
        };
        let offered = [
            entry("cpus", 0.1),
            entry("cpus", 0.2),
            reserved(entry("cpus", 1.0), "eng"),
            reserved(entry("cpus", 2.0), "other"),
            entry("db_connections", 2.9996),
            entry("mem", f64::NAN),
            entry("mem", -1.0),
            entry("mem", f64::INFINITY),
            entry("gpus", 0.0004),
            ports,
            revocable,
            volume,
            of_old_role,
        ];
        let sums = usable(&offered, "eng");
        assert_eq!(amounts(&sums), [("cpus", 1300), ("db_connections", 3000)]);
    }

    #[test]
    fn pieces_keep_all_that_tells_entries_apart_and_reserved_ones_go_first() {
        let ours = reserved(entry("cpus", 1.0), "eng");
        let mut pool = Pool::new(
            [entry("cpus", 2.0), ours.clone(), entry("mem", 64.0)],
            "eng",
        );
        let demand = [("cpus", 1500), ("mem", 32_000)];
        let pieces = pool.take(demand.into_iter()).unwrap();
        assert_eq!(pieces, [ours, entry("cpus", 0.5), entry("mem", 32.0)]);
        assert_eq!(pool.left("cpus"), 1500);
        assert_eq!(pool.take([("mem", 1), ("cpus", 1501)].into_iter()), None);
        assert_eq!(pool.left("mem"), 32_000, "all or nothing");
    }

    #[test]
    fn an_exact_piece_is_taken_from_an_entry_of_its_kind() {
        let mut pool = Pool::new(
            [entry("cpus", 1.0), reserved(entry("mem", 64.0), "eng")],
            "eng",
        );
        assert!(!pool.take_exactly(&[scalar("cpus", 500, "eng"), scalar("mem", 1000, "eng")]));
        assert_eq!(pool.left("cpus"), 1000);
        assert!(pool.take_exactly(&[scalar("cpus", 1000, "eng")]));
        assert!(!pool.take_exactly(&[scalar("cpus", 1, "eng")]));
    }
}
