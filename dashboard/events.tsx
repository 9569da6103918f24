/** What happened, the newest first. */
import type { FeedEvent } from '../wire/page-feed.ts';
import { clockText } from './text.ts';

const mostRows = 100;

export function Events({ events }: { readonly events: readonly FeedEvent[] }) {
  if (events.length === 0) return <p class="empty">No events.</p>;
  return (
    <div class="scroll events" id="events" tabIndex={0} aria-label="Events">
      <table>
        <tbody>
          {events.slice(0, mostRows).map((event) => (
            <tr
              key={`${event.namespace}/${event.about}/${event.reason}/${event.note}`}
              class={event.warning ? 'warning' : ''}
              title={event.note}
            >
              <td>{clockText(event.atMs)}</td>
              <td>{event.about}</td>
              <td>{event.count > 1 ? `${event.reason} ×${event.count}` : event.reason}</td>
              <td>{event.note}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
