//! The resources: their names, who brings them, and what others use of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use apportion_policies::{Amount, Amounts, Demand, ResourceId};

use super::super::request::ByName;
use super::super::settings::{ResourceSettings, Scope};

/// A resource.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Who brings it.
    pub(crate) scope: Scope,
    /// What others use of it; cluster scope only.
    pub(crate) outside: Amount,
    /// Whether it isn't configured, but demanded by tasks that were taken in when it was.
    is_stray: bool,
}

/// All resources, by dense id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    list: Vec<Resource>,
    by_name: BTreeMap<Arc<str>, ResourceId>,
    host: Vec<ResourceId>,
    shared: Vec<ResourceId>,
}

impl Resources {
    /// As configured, nothing used by others.
    pub(crate) fn new(settings: &[ResourceSettings]) -> Self {
        let mut resources = Self::default();
        for resource in settings {
            resources.push(Arc::clone(&resource.name), resource.scope);
        }
        resources
    }

    /// Adds a resource.
    pub(crate) fn push(&mut self, name: Arc<str>, scope: Scope) -> ResourceId {
        let id = ResourceId::new(self.list.len());
        self.by_name.insert(Arc::clone(&name), id);
        match scope {
            Scope::Host => self.host.push(id),
            Scope::Cluster { .. } => self.shared.push(id),
        }
        self.list.push(Resource {
            name,
            scope,
            outside: Amount::ZERO,
            is_stray: false,
        });
        id
    }

    /// Adds a host resource that no agent has, for tasks that were taken in when it was configured.
    pub(crate) fn push_stray(&mut self, name: Arc<str>) {
        let id = self.push(name, Scope::Host);
        self.list[id.index()].is_stray = true;
    }

    /// Whether it isn't configured, but demanded by tasks that were taken in when it was.
    pub(crate) fn is_stray(&self, id: ResourceId) -> bool {
        self.get(id).is_stray
    }

    /// The id of a name.
    pub(crate) fn find(&self, name: &str) -> Option<ResourceId> {
        self.by_name.get(name).copied()
    }

    /// The same of a name that is shared: names come from the same few places, so most are known by their address.
    fn find_shared(&self, name: &Arc<str>) -> Option<ResourceId> {
        let is_same = |known: &Resource| Arc::ptr_eq(&known.name, name);
        let known = self.list.iter().position(is_same);
        known.map(ResourceId::new).or_else(|| self.find(name))
    }

    /// The resource of an id.
    pub(crate) fn get(&self, id: ResourceId) -> &Resource {
        &self.list[id.index()]
    }

    /// Its name.
    pub(crate) fn name(&self, id: ResourceId) -> &Arc<str> {
        &self.get(id).name
    }

    /// Whether agents bring it.
    pub(crate) fn is_host(&self, id: ResourceId) -> bool {
        match self.get(id).scope {
            Scope::Host => true,
            Scope::Cluster { .. } => false,
        }
    }

    /// The resources that agents bring, in order of ids.
    pub(crate) fn host(&self) -> &[ResourceId] {
        &self.host
    }

    /// The resources of the cluster, in order of ids.
    pub(crate) fn shared(&self) -> &[ResourceId] {
        &self.shared
    }

    /// The configured capacity of a cluster resource.
    pub(crate) fn capacity(&self, id: ResourceId) -> Option<Amount> {
        match self.get(id).scope {
            Scope::Host => None,
            Scope::Cluster { capacity } => Some(capacity),
        }
    }

    /// Others use so much of it. Of a host resource nothing counts: agents offer what they leave.
    pub(crate) fn set_outside(&mut self, id: ResourceId, used: Amount) {
        if !self.is_host(id) {
            self.list[id.index()].outside = used;
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// All ids with their resources.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ResourceId, &Resource)> {
        let numbered = self.list.iter().enumerate();
        numbered.map(|(index, resource)| (ResourceId::new(index), resource))
    }

    /// The names, in order.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.by_name.keys().cloned().collect()
    }

    /// What an agent has or offers, added to `sum`. What isn't configured, or isn't of host scope, is
    /// left out.
    pub(crate) fn add_host_amounts(&self, by_name: &ByName<Amount>, sum: &mut Amounts) {
        for (name, amount) in by_name {
            let id = self.find_shared(name);
            if let Some(id) = id.filter(|id| self.is_host(*id)) {
                sum.set(id, sum.get(id).saturating_add(*amount));
            }
        }
    }

    /// What an agent has or offers, by ids.
    pub(crate) fn host_amounts(&self, by_name: &ByName<Amount>) -> Amounts {
        let mut amounts = Amounts::zero(self.len());
        self.add_host_amounts(by_name, &mut amounts);
        amounts
    }

    /// A demand by ids.
    ///
    /// # Errors
    /// The first name that isn't known.
    pub(crate) fn demand<'a>(&self, by_name: &'a ByName<Amount>) -> Result<Demand, &'a Arc<str>> {
        let mut pairs = Vec::with_capacity(by_name.len());
        for (name, amount) in by_name {
            pairs.push((self.find_shared(name).ok_or(name)?, *amount));
        }
        Ok(Demand::new(pairs))
    }

    /// A demand by ids. A name that isn't known, because it was taken out of the configuration while
    /// the daemon was down, becomes a host resource that no agent has: its tasks wait, and say so.
    pub(crate) fn demand_of_stored(&mut self, by_name: &ByName<Amount>) -> Demand {
        loop {
            let stray = match self.demand(by_name) {
                Ok(demand) => return demand,
                Err(name) => Arc::clone(name),
            };
            self.push_stray(stray);
        }
    }

    /// Amounts by name, of the resources that `wanted` holds for.
    pub(crate) fn by_name(
        &self,
        amounts: &Amounts,
        wanted: impl Fn(ResourceId) -> bool,
    ) -> ByName<Amount> {
        let ids = self.iter().filter(|(id, _)| wanted(*id));
        ids.map(|(id, resource)| (Arc::clone(&resource.name), amounts.get(id)))
            .collect()
    }
}
