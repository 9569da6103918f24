/**
 * Text of a manifest file to objects with the line each begins at. One function, so that a better parser can be put
 * in its place (`ManifestsOptions.parse`). It knows YAML and documents, not kinds.
 */
import { load, YAMLException } from 'js-yaml';
import type { KubernetesObject } from '../object-store.ts';

export interface ParsedManifests {
  readonly objects: readonly { readonly object: KubernetesObject; readonly line: number }[];
  readonly errors: readonly { readonly file: string; readonly line: number; readonly message: string }[];
}

export type ParseManifests = (text: string, fileName: string) => ParsedManifests;

export const parseManifests: ParseManifests = (text, file) => {
  const objects: { object: KubernetesObject; line: number }[] = [];
  const errors: { file: string; line: number; message: string }[] = [];
  let line = 1;
  for (const document of text.split(/^---(?=\s|$)/m)) {
    const first = line + (/^(?:\s*(?:#[^\n]*)?\n)*/.exec(document)?.[0].split('\n').length ?? 1) - 1;
    try {
      const object: unknown = /^\s*(#[^\n]*\s*)*$/.test(document) ? undefined : load(document);
      if (typeof object === 'object' && object !== null && !Array.isArray(object)) {
        objects.push({ object: object as KubernetesObject, line: first });
      } else if (object !== undefined && object !== null) {
        errors.push({ file, line: first, message: 'expected an object with apiVersion, kind and metadata' });
      }
    } catch (error) {
      if (!(error instanceof YAMLException)) throw error;
      const within = (error as { mark?: { line?: number } }).mark?.line ?? 0;
      errors.push({
        file,
        line: line + within,
        message: (error as { reason?: string }).reason ?? error.message,
      });
    }
    line += document.split('\n').length - 1;
  }
  return { objects, errors };
};
