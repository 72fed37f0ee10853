// The queues as a tree: what each uses of every resource, against what it is due.

import { bar, el, notice, replace } from './dom.js';
import { amount, amounts, number, percent } from './format.js';
import { get } from './server.js';

/** So many rows are drawn; a filter finds the others. */
const ROWS_MAX = 300;
/** With more queues than this the tree starts folded. */
const OPEN_MAX = 60;

/** The tree. */
export class QueuesView {
  title = 'Queues';

  constructor(parameters, refresh) {
    this.filter = parameters.get('filter') ?? '';
    this.folded = null;
    this.refresh = refresh;
  }

  async load() {
    this.queues = (await get('/v1/queues')).queues;
    this.paths = new Set(this.queues.map((queue) => queue.path));
    if (this.folded === null) {
      const inner = this.queues.filter((queue) => !queue.is_leaf).map((queue) => queue.path);
      this.folded = new Set(this.queues.length > OPEN_MAX ? inner : []);
    }
  }

  draw(place) {
    this.place = place;
    const words = this.filter.toLowerCase();
    const isShown = (queue) => (words ? queue.path.toLowerCase().includes(words)
      : !ancestors(queue.path).some((path) => this.folded.has(path)));
    const shown = this.queues.filter(isShown);
    const search = el('input', {
      type: 'search', id: 'filter', placeholder: 'Filter queues', 'aria-label': 'Filter queues', value: this.filter,
      oninput: (event) => { this.filter = event.target.value; this.draw(place); },
    });
    const rest = shown.length - ROWS_MAX;
    replace(place,
      el('div', { class: 'title' }, el('h1', {}, 'Queues'), search),
      legend(this.queues),
      el('ul', { class: 'tree', 'aria-label': 'Queues' }, shown.slice(0, ROWS_MAX).map((queue) => this.row(queue))),
      shown.length ? null : notice('No queue matches.'),
      rest > 0 ? notice(`${number(rest)} more queues match; narrow the filter.`) : null);
  }

  row(queue) {
    // Parents that may not be seen are not there: the row stands below the nearest that is.
    const above = this.filter ? [] : ancestors(queue.path).filter((path) => this.paths.has(path));
    const depth = above.length;
    const name = above.length ? queue.path.slice(above.at(-1).length + 1) : queue.path;
    const isFolded = this.folded.has(queue.path);
    const fold = queue.is_leaf ? el('span', { class: 'fold' }) : el('button', {
      class: 'fold', id: `fold-${queue.path}`, 'aria-expanded': String(!isFolded),
      'aria-label': `${isFolded ? 'Unfold' : 'Fold'} ${queue.path}`,
      onclick: () => {
        if (isFolded) this.folded.delete(queue.path); else this.folded.add(queue.path);
        this.draw(this.place);
      },
    }, isFolded ? '▸' : '▾');
    const link = el('a', { href: `#/tasks?queue=${encodeURIComponent(queue.path)}`, 'data-row': '' }, name);
    const item = el('li', { class: 'queue' },
      el('div', { class: 'queue-name' }, fold, link, el('small', {}, describe(queue))),
      el('div', { class: 'counts' }, counts(queue)),
      el('div', { class: 'bars' }, bars(queue)));
    item.style.setProperty('--depth', depth);
    return item;
  }
}

function ancestors(path) {
  const parts = path.split('/');
  return parts.slice(0, -1).map((_, index) => parts.slice(0, index + 1).join('/'));
}

function legend(queues) {
  const withDue = queues.some((queue) => queue.entitlement);
  return el('p', { class: 'legend' }, 'Bars: what a queue uses of each resource, all there is being the full width.',
    withDue ? [' The mark ', el('span', { class: 'due-sample' }), ' is its entitlement; a bar beyond it is orange.'] : null);
}

function describe(queue) {
  const words = [`weight ${number(queue.weight)}`];
  if (!queue.is_leaf) words.push(queue.policy);
  if (Object.keys(queue.min ?? {}).length) words.push(`min ${amounts(queue.min)}`);
  if (Object.keys(queue.max).length) words.push(`max ${limits(queue.max)}`);
  return words.join(' · ');
}

function limits(max) {
  return Object.entries(max).map(([name, value]) => `${name} ${amount(name, value)}`).join(', ');
}

function counts(queue) {
  const shown = [['running', (queue.tasks.running ?? 0) + (queue.tasks.launching ?? 0)], ['queued', queue.tasks.queued ?? 0],
    ['waiting', queue.tasks.waiting ?? 0], ['cancelling', queue.tasks.cancelling ?? 0]];
  const parts = shown.filter(([word, count]) => count > 0 || word === 'running' || word === 'queued')
    .map(([word, count]) => el('span', { class: `count ${word}` }, el('b', {}, number(count)), ` ${word}`));
  if (queue.n_unsatisfiable > 0) {
    parts.push(el('span', { class: 'count failed', title: 'can never run as things are' },
      el('b', {}, number(queue.n_unsatisfiable)), ' never fit'));
  }
  return parts;
}

function bars(queue) {
  const due = queue.entitlement?.decimal ?? queue.entitlement ?? null;
  return Object.entries(queue.share).map(([name, share]) => {
    const used = amount(name, queue.used[name] ?? 0);
    const isDominant = queue.dominant_resource === name;
    const label = `${name}: uses ${used}, ${percent(share.decimal)} of all${due === null ? '' : `; due ${percent(due)}`}`;
    return el('div', { class: isDominant ? 'bar-row dominant' : 'bar-row' }, el('span', { class: 'bar-name' }, name),
      bar(share.decimal, due, label), el('span', { class: 'bar-value' }, percent(share.decimal)));
  });
}
