// A page of tasks, with search and filters. The filters are the address, so a link keeps them.

import { el, notice, replace, state } from './dom.js';
import { ago, amounts, command } from './format.js';
import { get } from './server.js';

const STATES = ['waiting', 'queued', 'launching', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled'];
const PAGE = 50;
/** How long to wait for the next letter before the search begins. */
const TYPING_MS = 300;

/** The list. */
export class TasksView {
  title = 'Tasks';

  constructor(parameters, refresh) {
    this.refresh = refresh;
    this.search = parameters.get('search') ?? '';
    this.queue = parameters.get('queue') ?? '';
    this.states = (parameters.get('state') ?? '').split(',').filter((word) => STATES.includes(word));
    this.order = parameters.get('order') === 'oldest' ? 'oldest' : '';
    this.after = parameters.get('after') ?? '';
    this.earlier = (parameters.get('earlier') ?? '').split(',').filter(Boolean);
  }

  async load() {
    const query = new URLSearchParams({ limit: PAGE, order: this.order || 'newest' });
    if (this.search) query.set('search', this.search);
    if (this.queue) query.set('queue', this.queue);
    if (this.states.length) query.set('state', this.states.join(','));
    if (this.after) query.set('after', this.after);
    this.page = await get(`/v1/tasks?${query}`);
  }

  /** The address of this list with some of it changed. */
  address(changes) {
    const all = { search: this.search, queue: this.queue, state: this.states.join(','), order: this.order,
      after: '', earlier: '', ...changes };
    const query = new URLSearchParams(Object.entries(all).filter(([, value]) => value));
    return query.size ? `#/tasks?${query}` : '#/tasks';
  }

  draw(place) {
    const { tasks, next_after: next } = this.page;
    replace(place,
      el('div', { class: 'title' }, el('h1', {}, 'Tasks'), this.fields()),
      this.stateChips(),
      tasks.length ? el('ul', { class: 'tasks', 'aria-label': 'Tasks' }, tasks.map(row)) : notice('No task matches.'),
      this.pager(next));
  }

  fields() {
    return el('form', { class: 'fields', role: 'search', onsubmit: (event) => event.preventDefault() },
      this.field('search', 'search', 'Search name or key, or an id', this.search),
      this.field('queue', 'text', 'Queue', this.queue));
  }

  field(name, type, label, value) {
    const go = (event) => {
      clearTimeout(this.typing);
      const text = event.target.value.trim();
      const isId = name === 'search' && /^[1-9]\d*$/.test(text);
      if (isId && event.type === 'change') location.hash = `#/tasks/${text}`;
      else if (text !== this[name]) this.typing = setTimeout(() => this.narrow(name, text), TYPING_MS);
    };
    return el('input', { type, id: `field-${name}`, placeholder: label, 'aria-label': label, value, autocomplete: 'off',
      oninput: go, onchange: go });
  }

  /** Another word to search for: the same view from the first page on, so that typing goes on undisturbed. */
  narrow(name, text) {
    history.replaceState(null, '', this.address({ [name]: text }));
    this[name] = text;
    this.after = '';
    this.earlier = [];
    this.refresh();
  }

  stateChips() {
    const chip = (word) => {
      const isOn = this.states.includes(word);
      const states = isOn ? this.states.filter((one) => one !== word) : [...this.states, word];
      return el('a', { id: `state-${word}`, class: isOn ? 'chip on' : 'chip', href: this.address({ state: states.join(',') }),
        'aria-pressed': String(isOn), role: 'button' }, word);
    };
    const order = el('a', { id: 'order', class: 'chip order', href: this.address({ order: this.order ? '' : 'oldest' }),
      role: 'button' }, this.order ? 'oldest first' : 'newest first');
    return el('p', { class: 'chips' },
      el('span', { class: 'chips', role: 'group', 'aria-label': 'Only these states' }, STATES.map(chip)), order);
  }

  pager(next) {
    const back = this.earlier.at(-1);
    const backward = this.after ? el('a', { class: 'button', href: this.address({
      after: back === 'first' ? '' : back, earlier: this.earlier.slice(0, -1).join(',') }) }, '← Back') : null;
    const forward = next ? el('a', { class: 'button', href: this.address({
      after: String(next), earlier: [...this.earlier, this.after || 'first'].join(',') }) }, 'More →') : null;
    return el('p', { class: 'pager' }, backward, forward);
  }

  close() {
    clearTimeout(this.typing);
  }
}

/** Its name, or what runs where there is none; an array's task with its index. */
function title(task) {
  const name = task.name || command(task.run);
  return task.array_index === null ? name : `${name} [${task.array_index}]`;
}

function row(task) {
  const time = task.ended_at ? `ended ${ago(task.ended_at)} ago` : `submitted ${ago(task.submitted_at)} ago`;
  const why = task.outcome?.cause?.message;
  return el('li', {}, el('a', { class: 'task', href: `#/tasks/${task.id}`, 'data-row': '' },
    el('span', { class: 'id' }, String(task.id)),
    state(task.state),
    el('span', { class: 'what' }, el('b', {}, title(task)), why ? el('small', {}, why) : null),
    el('span', { class: 'where' }, task.queue),
    el('span', { class: 'demand' }, amounts(task.demand)),
    el('span', { class: 'time' }, time)));
}
