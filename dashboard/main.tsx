/** Where the page begins. */
import { render } from 'preact';
import { App } from './app.tsx';
import { signIn } from './session.ts';

const page = document.getElementById('page');
if (!page) throw new Error('MUSTER_PAGE_BROKEN: index.html has no place for the page');
await signIn();
page.replaceChildren();
render(<App />, page);
