/** The keys of the page. */
import { useEffect, useRef } from 'preact/hooks';

const keys = [
  ['g t e', 'grid, timeline, events'],
  ['j r l', 'jobs, ranks and output of the chosen one'],
  ['arrows', 'move in the grid and the jobs'],
  ['Enter', 'choose the job under the cursor'],
  ['/', 'filter jobs'],
  ['[ ]', 'shorter or longer timeline'],
  ['Esc', 'choose nothing, filter nothing'],
] as const;

export function Help({ close }: { readonly close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} onClose={close} onClick={() => dialog.current?.close()} aria-label="Keys">
      <h2>Keys</h2>
      <dl>
        {keys.map(([key, what]) => (
          <div key={key} class="key">
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </dialog>
  );
}
