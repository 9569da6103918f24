/**
 * The web page as routes of an API server, the same on Kubernetes' aggregated API and on the file store's: its files, and the feed
 * that it lives on. It only reads; logs and ranks it takes from the verbs. Who asks, and what he may see, is the API server's to say.
 */
import type { Routes } from '../../store/server/routes.ts';
import { verbsBase, verbsGroup } from '../subresources/paths.ts';
import { Assets } from './assets.ts';
import { feedResource, serveFeed, FeedPlaces, type FeedPorts } from './feed.ts';

export interface DashboardPorts extends Omit<FeedPorts, 'places'> {
  /** Where the build has put the files of the page. */
  readonly directory: string;
}

export const dashboardPath = `${verbsBase}/dashboard/`;

export function addDashboard(routes: Routes, { directory, ...ports }: DashboardPorts): void {
  const assets = new Assets(directory);
  const places = new FeedPlaces();
  routes.add('GET', `${dashboardPath}{file...}`, async (context) => {
    const { request, response, path, parameters } = context;
    await context.requireAccess({ verb: 'get', group: verbsGroup, resource: 'dashboard' });
    if (`${path}/` === dashboardPath) {
      // Its files are named from here on.
      response.writeHead(301, { location: 'dashboard/' });
      return void response.end();
    }
    const zipped = /\bgzip\b/.test(request.headers['accept-encoding'] ?? '');
    const { body, headers, etag } = assets.get(parameters['file'] ?? '', zipped);
    const isKnown = request.headers['if-none-match'] === etag;
    response.writeHead(isKnown ? 304 : 200, headers);
    response.end(isKnown || context.method === 'HEAD' ? undefined : body);
  });
  routes.add('GET', `${verbsBase}/${feedResource}`, (context) => serveFeed(context, { ...ports, places }));
}
