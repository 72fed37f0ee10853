// Asks for a token where the daemon wants one. It is kept for this tab only, and sent to this daemon only.

import { door } from './server.js';

const dialog = document.getElementById('door');
const input = document.getElementById('door-token');

document.getElementById('door-no').addEventListener('click', () => dialog.close('no'));

door.ask = (reason) => {
  document.getElementById('door-text').textContent = reason?.code === 'token_missing'
    ? 'This daemon lets in who has a token. Whoever runs it makes them with "apportion token new". It stays in this tab only.'
    : reason?.message ?? 'This token does not count.';
  input.value = '';
  dialog.returnValue = 'no';
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      resolve(dialog.returnValue === 'yes' ? input.value.trim() || null : null);
      input.value = '';
    }, { once: true });
  });
};
