// Agents and resources: what there is, what is used of it, and by whom.

import { bar, el, notice, replace, table } from './dom.js';
import { amount } from './format.js';
import { get } from './server.js';

/** How many of an agent's attempts are listed. */
const ATTEMPTS_SHOWN = 12;
const AGENTS_SHOWN = 200;

/** The machines. */
export class AgentsView {
  title = 'Agents';

  async load() {
    this.agents = (await get('/v1/agents')).agents;
  }

  draw(place) {
    if (!this.agents.length) {
      replace(place, el('h1', {}, 'Agents'), notice('No agent is there: nothing can run.'));
      return;
    }
    const shown = this.agents.slice(0, AGENTS_SHOWN);
    const rest = this.agents.length - shown.length;
    replace(place, el('h1', {}, 'Agents'), shown.map(agent), rest > 0 ? notice(`${rest} more are not shown.`) : null);
  }
}

function agent(agent) {
  const rows = Object.entries(agent.total).map(([name, total]) => {
    const used = agent.used[name] ?? 0;
    const label = `${name}: ${amount(name, used)} of ${amount(name, total)} used`;
    return [name, bar(total ? used / total : 0, null, label), amount(name, used), amount(name, agent.offered[name] ?? 0),
      amount(name, total)];
  });
  const columns = ['Resource', 'Use', 'Used', 'Offered', 'Total']
    .map((title, index) => ({ title, class: index > 1 ? 'number' : index === 1 ? 'wide' : '' }));
  const attributes = Object.entries(agent.attributes).map(([name, value]) => `${name}=${value}`).join(', ');
  const attempts = agent.attempts.slice(0, ATTEMPTS_SHOWN).map((attempt) =>
    el('a', { class: 'chip', href: `#/tasks/${attempt.split('.')[0]}` }, attempt));
  const rest = agent.attempts.length - attempts.length;
  return el('section', { class: 'card' },
    el('h2', {}, agent.name, attributes ? el('small', {}, ` ${attributes}`) : null),
    table(`Resources of ${agent.name}`, columns, rows),
    el('p', { class: 'chips' }, agent.attempts.length ? `${agent.attempts.length} running: ` : 'Nothing runs here.', attempts,
      rest > 0 ? ` and ${rest} more` : null));
}

/** What there is of each resource. */
export class ResourcesView {
  title = 'Resources';

  async load() {
    this.resources = (await get('/v1/resources')).resources;
  }

  draw(place) {
    const columns = ['Resource', 'Scope', 'Use', 'Used', 'Outside', 'Free', 'Capacity']
      .map((title, index) => ({ title, class: index > 2 ? 'number' : index === 2 ? 'wide' : '' }));
    const rows = this.resources.map((one) => {
      const share = one.capacity ? (one.used + one.outside) / one.capacity : 0;
      const label = `${one.name}: ${amount(one.name, one.used)} used here and ${amount(one.name, one.outside)} `
        + `outside, of ${amount(one.name, one.capacity)}`;
      return [one.name, one.scope, bar(share, null, label), amount(one.name, one.used),
        one.scope === 'cluster' ? amount(one.name, one.outside) : '–', amount(one.name, one.free),
        amount(one.name, one.capacity)];
    });
    replace(place, el('h1', {}, 'Resources'), el('section', { class: 'card' }, table('Resources', columns, rows)));
  }
}
