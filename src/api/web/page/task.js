// One task: its life, why it waits or how it came to run, its output as it grows; cancel and retry.

import { el, notice, replace, state, table } from './dom.js';
import { explanation } from './explanation.js';
import { amounts, bytes, command, seconds, when } from './format.js';
import { Output } from './output.js';
import { cancel, retry } from './question.js';
import { get } from './server.js';

const ENDED = ['succeeded', 'failed', 'cancelled'];

/** The task of an id. */
export class TaskView {
  constructor(id, refresh) {
    this.id = id;
    this.title = `Task ${id}`;
    this.refresh = refresh;
    this.output = new Output(id);
    this.message = null;
  }

  concerns(event) {
    return Number(this.id) >= event.task && Number(this.id) < event.task + event.count;
  }

  async load() {
    [this.task, this.why] = await Promise.all([get(`/v1/tasks/${this.id}`), get(`/v1/tasks/${this.id}/explain`)]);
    this.output.follow(this.task);
  }

  draw(place) {
    this.place ??= el('div', {});
    if (this.place.parentNode !== place) place.replaceChildren(this.place, this.output.element);
    replace(this.place, this.head(), this.message, this.facts(), explanation(this.why), attempts(this.task));
  }

  head() {
    const { task } = this;
    const can = { cancel: !ENDED.includes(task.state) && task.state !== 'cancelling',
      retry: ['failed', 'cancelled', 'cancelling'].includes(task.state) };
    const button = (word, action) => el('button', { id: `do-${word.toLowerCase()}`, class: word === 'Cancel' ? 'danger' : '',
      onclick: () => this.act(action) }, word);
    return el('div', { class: 'title' },
      el('h1', {}, `Task ${task.id} `, state(task.state)),
      el('span', { class: 'buttons' }, can.cancel ? button('Cancel', cancel) : null, can.retry ? button('Retry', retry) : null));
  }

  async act(action) {
    try {
      if (await action(this.task)) this.message = null;
    } catch (error) {
      this.message = notice(error.message, 'error');
    }
    this.refresh();
  }

  facts() {
    const { task } = this;
    const facts = [
      ['Name', task.name || '–'],
      ['Queue', el('a', { href: `#/tasks?queue=${encodeURIComponent(task.queue)}` }, task.queue)],
      ['Runs', el('code', {}, command(task.run))],
      ['Demand', amounts(task.demand)],
      ['Submitted', when(task.submitted_at)],
    ];
    const maybe = (title, value) => { if (value !== null && value !== undefined && value !== '') facts.push([title, value]); };
    maybe('Array', task.array && `index ${task.array_index} of ${task.array}`);
    maybe('After', task.after.length ? task.after.map((one) => [
      el('a', { href: `#/tasks/${one.task}` }, one.count > 1 ? `${one.task}–${one.task + one.count - 1}` : String(one.task)), ' ']) : null);
    maybe('Constraints', Object.entries(task.constraints).map(([name, value]) => `${name}=${value}`).join(', '));
    maybe('Priority', task.priority || null);
    maybe('Key', task.key);
    maybe('Inbox', task.inbox);
    maybe('Timeout', task.timeout_seconds && seconds(task.timeout_seconds));
    maybe('Ended', task.ended_at && when(task.ended_at));
    if (task.outcome) facts.push(['Outcome', outcome(task.outcome)], ['Used', usage(task.outcome)]);
    return el('dl', { class: 'card facts' }, facts.map(([title, value]) => [el('dt', {}, title), el('dd', {}, value)]));
  }

  close() {
    this.output.close();
  }
}

function outcome(outcome) {
  return outcome.cause?.message ?? (outcome.exit_code === null ? outcome.kind : `exit code ${outcome.exit_code}`);
}

function usage(used) {
  return `${seconds(used.wall_seconds)} wall, ${seconds(used.cpu_seconds)} cpu, ${bytes(used.memory_peak_bytes)} memory at most`;
}

function attempts(task) {
  if (!task.attempts.length) return null;
  const columns = ['Attempt', 'Agent', 'Launched', 'Started', 'Ended', 'Wall', 'Memory', 'End'].map((title) => ({ title }));
  const rows = task.attempts.map((one) => [String(one.attempt), one.agent, when(one.launched_at), when(one.started_at),
    when(one.ended_at), seconds(one.wall_seconds), bytes(one.memory_peak_bytes), one.end?.message ?? '–']);
  return el('section', { class: 'card' }, el('h2', {}, 'Attempts'), table('Attempts', columns, rows));
}
