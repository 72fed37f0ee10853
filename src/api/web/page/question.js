// Asks before something is done that can't be undone.

import { post } from './server.js';

const dialog = document.getElementById('question');
const part = (name) => document.getElementById(`question-${name}`);

/** Resolves with `null` for no, and with `{ reason }` for yes. */
function ask({ title, text, yes, withReason }) {
  part('title').textContent = title;
  part('text').textContent = text;
  part('yes').textContent = yes;
  part('reason').hidden = !withReason;
  part('reason').querySelector('input').value = '';
  dialog.returnValue = 'no';
  dialog.showModal();
  part('no').focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      const reason = part('reason').querySelector('input').value.trim();
      resolve(dialog.returnValue === 'yes' ? { reason } : null);
    }, { once: true });
  });
}

/** Cancels a task if the answer is yes. Resolves with whether it was done. */
export async function cancel(task) {
  const answer = await ask({
    title: `Cancel task ${task.id}?`,
    text: task.name ? `${task.name}, in queue ${task.queue}. What runs gets SIGTERM, and SIGKILL after its grace.`
      : `In queue ${task.queue}. What runs gets SIGTERM, and SIGKILL after its grace.`,
    yes: 'Yes, cancel it',
    withReason: true,
  });
  if (!answer) return false;
  await post(`/v1/tasks/${task.id}/cancel`, answer.reason ? { reason: answer.reason } : {});
  return true;
}

/** Gives a task another attempt if the answer is yes. */
export async function retry(task) {
  const answer = await ask({
    title: `Run task ${task.id} again?`,
    text: `It gets a new attempt in queue ${task.queue}, with all its retries.`,
    yes: 'Yes, run it again',
    withReason: false,
  });
  if (!answer) return false;
  await post(`/v1/tasks/${task.id}/retry`);
  return true;
}
