/**
 * The whole page: nodes and ranks, the timeline and events on the left, jobs and the chosen one on the right. It only shows; nothing
 * in the cluster can be changed from here.
 */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { Events } from './events.tsx';
import { FeedClient, type Connection } from './feed-client.ts';
import { Grid } from './grid.tsx';
import { Help } from './help.tsx';
import { Job } from './job.tsx';
import { Jobs } from './jobs.tsx';
import { keyOf, matches, modelOf, useOf } from './model.ts';
import { ageText } from './text.ts';
import { Timeline, ranges } from './timeline.tsx';
import { isOver } from './timeline-plan.ts';
import { UsageHistory } from './usage-history.ts';

/** What keys lead to; Tab leads to all of them in turn. */
const stops: Readonly<Record<string, string>> = {
  g: 'grid',
  t: 'timeline',
  e: 'events',
  j: 'jobs',
  r: 'ranks',
  l: 'log',
  '/': 'filter',
};

export function App() {
  const { client, version, nowMs } = useFeed();
  const history = useRef(new UsageHistory()).current;
  const [chosen, setChosen] = useState('');
  const [words, setWords] = useState('');
  const [range, setRange] = useState(0);
  const [help, setHelp] = useState(false);
  const model = useMemo(() => modelOf(client.items), [version]);
  const uses = useMemo(() => useOf(model.sandboxes), [model]);
  const groups = useMemo(
    () => (words.trim() === '' ? model.groups : model.groups.filter((group) => matches(group, words.trim()))),
    [model, words],
  );
  useEffect(() => {
    for (const { uid, phase } of model.groups) {
      const use = uses.get(uid);
      if (use && !isOver(phase)) history.add(uid, { atMs: nowMs, ...use });
    }
  }, [model, uses, nowMs]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const field = event.target instanceof HTMLInputElement ? event.target : undefined;
      if (event.key === 'Escape') {
        if (field) field.blur();
        else setChosen('');
        return setWords('');
      }
      if (field) return;
      const stop = stops[event.key];
      if (stop !== undefined) document.getElementById(stop)?.focus();
      else if (event.key === '?') setHelp(true);
      else if (event.key === '[' || event.key === ']') {
        const step = event.key === ']' ? 1 : -1;
        setRange((before) => Math.max(0, Math.min(ranges.length - 1, before + step)));
      } else return;
      event.preventDefault();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, []);
  const { connection } = client;
  if (connection.state === 'refused' && client.items.size === 0) return <Refused connection={connection} />;
  const choose = (namespace: string, name: string): void => setChosen(`${namespace}/${name}`);
  const group = model.groups.find((one) => keyOf(one) === chosen);
  const events = group
    ? model.events.filter(
        ({ about, namespace }) => namespace === group.namespace && about.startsWith(group.name),
      )
    : model.events;
  const rangeMs = ranges[range]?.[1] ?? ranges[0][1];
  const active = model.groups.filter(({ phase }) => !isOver(phase));
  const ready = model.nodes.filter(({ phase }) => phase === 'Ready').length;
  return (
    <div class="app">
      <header>
        <h1>Muster</h1>
        <Count value={`${ready}/${model.nodes.length}`} of="nodes ready" />
        <Count value={active.filter(({ phase }) => phase === 'Running').length} of="jobs running" />
        <Count value={active.filter(({ phase }) => phase !== 'Running').length} of="waiting or suspended" />
        <Count value={active.reduce((sum, { running }) => sum + running, 0)} of="ranks" />
        <span class="spring" />
        <input
          id="filter"
          type="search"
          placeholder="Filter jobs  /"
          aria-label="Filter jobs"
          value={words}
          onInput={(event) => setWords(event.currentTarget.value)}
        />
        <LinkState connection={connection} />
      </header>
      <main>
        <section class="grid-panel" aria-label="Nodes and ranks">
          <div class="head">
            <h2>Nodes and ranks</h2>
            <span class="spring" />
            <Legend />
          </div>
          {model.nodes.length === 0 ? (
            <p class="empty">{connection.state === 'live' ? 'No node, or none that you may see.' : ''}</p>
          ) : (
            <Grid
              nodes={model.nodes}
              sandboxes={model.sandboxes}
              chosenUid={group?.uid ?? ''}
              choose={choose}
            />
          )}
        </section>
        <section class="timeline-panel" aria-label="Timeline">
          <div class="head">
            <h2>Timeline</h2>
            <span class="spring" />
            <div class="ranges">
              {ranges.map(([name], index) => (
                <button key={name} aria-pressed={index === range} onClick={() => setRange(index)}>
                  {name}
                </button>
              ))}
            </div>
          </div>
          <Timeline {...{ model, groups, nowMs, rangeMs, chosen, choose }} />
        </section>
        <section class="events-panel" aria-label="Events">
          <div class="head">
            <h2>Events {group && <small>of {group.name}</small>}</h2>
          </div>
          <Events events={events} />
        </section>
      </main>
      <aside>
        <section class="jobs-panel" aria-label="Jobs">
          <div class="head">
            <h2>Jobs</h2>
            <span class="faint">{groups.length}</span>
            <span class="spring" />
            <span class="faint">
              <kbd>?</kbd> keys
            </span>
          </div>
          <Jobs {...{ groups, uses, nowMs, chosen, choose }} />
        </section>
        {group && (
          <section class="job-panel" aria-label={`Job ${group.name}`}>
            <div class="head">
              <h2>{keyOf(group)}</h2>
            </div>
            <Job key={group.uid} group={group} use={uses.get(group.uid)} {...{ model, history, nowMs }} />
          </section>
        )}
      </aside>
      {help && <Help close={() => setHelp(false)} />}
    </div>
  );
}

/** What is told, at most once a frame; and the server's time, each second. */
function useFeed(): { readonly client: FeedClient; readonly version: number; readonly nowMs: number } {
  const [version, setVersion] = useState(0);
  const [, setSecond] = useState(0);
  const frame = useRef(0);
  const client = useMemo(
    () =>
      new FeedClient(() => {
        if (frame.current !== 0) return;
        frame.current = requestAnimationFrame(() => {
          frame.current = 0;
          setVersion((before) => before + 1);
        });
      }),
    [],
  );
  useEffect(() => {
    const stop = new AbortController();
    void client.run(stop.signal);
    const timer = setInterval(() => setSecond((before) => before + 1), 1000);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [client]);
  // Whole seconds, so that what depends on the time is worked out once in each; none is before what has been told.
  const nowMs = Math.ceil((Date.now() + client.offsetMs) / 1000) * 1000;
  return { client, version, nowMs };
}

function Count({ value, of }: { readonly value: number | string; readonly of: string }) {
  return (
    <span class="count">
      <b>{typeof value === 'number' ? value.toLocaleString('en') : value}</b> {of}
    </span>
  );
}

function LinkState({ connection }: { readonly connection: Connection }) {
  const text =
    connection.state === 'lost'
      ? `no connection for ${ageText(Date.now() - connection.sinceMs)}`
      : connection.state;
  return (
    <span class={`link ${connection.state}`} role="status">
      {text}
    </span>
  );
}

function Legend() {
  const looks = ['pending', 'frozen', 'saving', 'ended', 'failed', 'unknown', 'free'] as const;
  return (
    <div class="legend" aria-hidden="true">
      <span>
        <i class="ramp" /> idle to busy
      </span>
      {looks.map((look) => (
        <span key={look}>
          <i class={look} /> {look}
        </span>
      ))}
    </div>
  );
}

function Refused({ connection }: { readonly connection: Connection & { readonly state: 'refused' } }) {
  return (
    <div class="notice" role="alert">
      <h1>{connection.needsLogin ? 'Not signed in' : 'Nothing to see'}</h1>
      <p>{connection.why}</p>
      {connection.needsLogin && (
        <p>
          Run <code>muster dashboard</code>: it prints an address that signs this browser in, once.
        </p>
      )}
    </div>
  );
}
