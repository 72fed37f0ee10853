// Why a task waits, or how it came to run.

import { el, table } from './dom.js';
import { seconds, when } from './format.js';

/** A section with all that `explain` says; nothing for a task of which nothing is to be said. */
export function explanation(why) {
  const parts = [];
  if (why.n_ahead > 0) parts.push(ahead(why));
  if (why.reasons.length) {
    parts.push(el('ul', { class: 'reasons' }, why.reasons.map((reason) =>
      el('li', { class: reason.code }, reason.message))));
  }
  for (const step of why.steps ?? []) parts.push(descent(step));
  if (why.offers) parts.push(offers(why.offers));
  for (const attempt of why.attempts) parts.push(decision(attempt));
  if (!parts.length) return null;
  const title = why.reasons.length || why.n_ahead > 0 ? 'Why it waits' : 'How it came to run';
  return el('section', { class: 'card', id: 'explanation' }, el('h2', {}, title), parts);
}

function ahead(why) {
  const links = why.ahead.map((task) => [el('a', { href: `#/tasks/${task}` }, String(task)), ' ']);
  return el('p', {}, `${why.n_ahead} of its queue go before it: `, links, why.n_ahead > why.ahead.length ? '…' : null);
}

/** One level of the queue tree: the siblings in their order. */
function descent(step) {
  const columns = [{ title: 'Queue' }, { title: 'Key' }, { title: 'Decimal', class: 'number' }, { title: '' }];
  const rows = step.children.map((child) => [child.queue, child.fraction ?? '–',
    child.decimal === null || child.decimal === undefined ? '–' : child.decimal.toFixed(4), child.remark ?? '']);
  const among = step.queue ? `below ${step.queue}` : 'at the top';
  return el('div', { class: 'step' }, el('h3', {}, `Order ${among} by ${step.policy}`),
    table(`Order ${among}`, columns, rows));
}

function decision(attempt) {
  const waited = attempt.waited_seconds === null ? '' : `, after it could have run for ${seconds(attempt.waited_seconds)}`;
  const keys = attempt.keys.map((key) => (key.fraction ? `${key.queue} ${key.fraction} (${key.decimal.toFixed(4)})` : key.queue));
  const turn = keys.length ? ` It was the turn of ${keys.join(', in it of ')}.` : '';
  const claim = attempt.cause === 'claim' ? ' A claim had kept what it needs.' : '';
  return el('p', {}, `Attempt ${attempt.attempt} was launched on the offer of ${attempt.agent}, `,
    `${when(attempt.launched_at)}${waited}.${turn}${claim}`);
}

/** What became of the offers at hand. */
function offers(seen) {
  if (seen.n_offering === 0) return el('p', {}, 'No agent offers anything now.');
  const refused = Object.entries(seen.refused).map(([reason, count]) => `${count} ${reason}`).join(', ');
  return el('p', {}, `${seen.n_offering} agents offer something: ${refused}.`);
}
