//! Which bounds hold for the tasks of which queue, and what of that the keeper has been told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::accounts::Account;
use super::wire::{Order, WireBounds, WireUser};
use crate::backend::settings::{Containment, Containments};

/// Bounds that the keeper knows by a number.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) number: u32,
    bounds: WireBounds,
}

impl Profile {
    /// Who runs the tasks, where that is somebody else than this process's user.
    pub(super) fn user(&self) -> Option<&WireUser> {
        self.bounds.user.as_ref()
    }
}

/// What the configuration says, with the accounts that it names looked up.
#[derive(Debug)]
pub(super) struct Known {
    containments: Containments,
    /// `None` for this process's own account, and where one can't be used, why.
    accounts: BTreeMap<Arc<str>, Result<Option<WireUser>, String>>,
}

impl Known {
    /// Looks the accounts up. Reads the system's lists of users and groups, and may ask other machines.
    pub(super) fn find(containments: Containments) -> Self {
        let users = containments.users().into_keys();
        let accounts = users.map(|user| {
            let found = Account::find(&user);
            let found = found.map(|account| account.to_wire());
            (user, found.map_err(|error| error.to_string()))
        });
        Self {
            accounts: accounts.collect(),
            containments,
        }
    }

    fn bounds(&self, containment: &Containment) -> Result<WireBounds, String> {
        let user = match &containment.user {
            Some(user) => self.accounts.get(user).cloned().unwrap_or(Ok(None))?,
            None => None,
        };
        Ok(WireBounds {
            user,
            limits: containment.limits.clone(),
        })
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Profiles {
    known: Known,
    /// Those of which the present keeper knows. They are few: as many as there are different ones.
    told: Vec<Profile>,
    /// Where in `told` the queues' are that had a task lately.
    by_queue: BTreeMap<Arc<str>, usize>,
    n_ever: u32,
}

impl Profiles {
    pub(super) fn new(known: Known) -> Self {
        Self {
            known,
            told: Vec::new(),
            by_queue: BTreeMap::new(),
            n_ever: 0,
        }
    }

    /// From now on this holds, for what is launched from now on.
    pub(super) fn replace(&mut self, known: Known) {
        self.known = known;
        self.by_queue.clear();
    }

    /// There is another keeper, which knows nothing.
    pub(super) fn forget_told(&mut self) {
        self.told.clear();
        self.by_queue.clear();
    }

    /// As whom tasks of a queue run, where that is somebody else than this process's user.
    pub(super) fn user_of(&self, queue: &str) -> Option<WireUser> {
        let user = self.known.containments.of(queue).user.as_ref()?;
        self.known.accounts.get(user)?.clone().ok().flatten()
    }

    /// What holds for tasks of a queue. What the keeper doesn't know yet it is told by `tell`.
    ///
    /// # Errors
    /// Why the account under which they run can't be used (any more).
    pub(super) fn of(
        &mut self,
        queue: &Arc<str>,
        tell: impl FnOnce(&Order<'_>) -> std::io::Result<()>,
    ) -> Result<&Profile, String> {
        if let Some(place) = self.by_queue.get(queue) {
            return Ok(&self.told[*place]);
        }
        let bounds = self.known.bounds(self.known.containments.of(queue))?;
        let mut told = self.told.iter();
        let place = match told.position(|profile| profile.bounds == bounds) {
            Some(place) => place,
            None => {
                let number = self.n_ever;
                self.n_ever += 1;
                // An order of this size is never too long.
                let _ = tell(&Order::Contain {
                    profile: number,
                    bounds: bounds.clone(),
                });
                self.told.push(Profile { number, bounds });
                self.told.len() - 1
            }
        };
        self.by_queue.insert(Arc::clone(queue), place);
        Ok(&self.told[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::settings::TaskLimits;

    fn containment(output_bytes: u64) -> Containment {
        Containment {
            user: None,
            limits: TaskLimits {
                output_bytes: Some(output_bytes),
                ..TaskLimits::NONE
            },
        }
    }

    #[test]
    fn the_keeper_is_told_each_once_and_anew_when_it_is_another() {
        let containments = Containments {
            default: containment(1),
            queues: [("maps".into(), containment(2))].into(),
        };
        let mut profiles = Profiles::new(Known::find(containments.clone()));
        let mut told = Vec::new();
        let mut number = |profiles: &mut Profiles, queue: &str| {
            let tell = |order: &Order<'_>| {
                told.push(format!("{order:?}"));
                Ok(())
            };
            let profile = profiles.of(&queue.into(), tell).unwrap();
            (profile.number, told.len())
        };
        assert_eq!(number(&mut profiles, "search"), (0, 1));
        assert_eq!(number(&mut profiles, "maps/render"), (1, 2));
        assert_eq!(number(&mut profiles, "maps"), (1, 2));
        assert_eq!(number(&mut profiles, "other"), (0, 2));
        profiles.replace(Known::find(Containments {
            default: containment(2),
            ..containments
        }));
        assert_eq!(number(&mut profiles, "search"), (1, 2));
        profiles.forget_told();
        assert_eq!(number(&mut profiles, "search"), (2, 3));
    }

    #[test]
    fn a_queue_whose_account_is_gone_is_refused() {
        let mut profiles = Profiles::new(Known::find(Containments {
            default: Containment {
                user: Some("no-such-user-here".into()),
                ..Containment::default()
            },
            queues: BTreeMap::new(),
        }));
        let refused = profiles.of(&"maps".into(), |_| Ok(())).unwrap_err();
        assert!(refused.starts_with("there is no user"), "{refused}");
        assert_eq!(profiles.user_of("maps"), None);
    }
}
