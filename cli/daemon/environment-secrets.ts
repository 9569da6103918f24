/**
 * The environment of a group's caller on Kubernetes: a Secret in the group's namespace, named by an annotation of the group and made
 * for that and nothing else, which its type says; no other Secret is ever given to ranks.
 */
import type { GroupSecrets } from '../../controllers/process-group/perform.ts';
import type { GroupSecret } from '../../controllers/spec-of.ts';
import { annotations } from '../../crds/names.ts';
import { isStoreError, type AnyObject, type ObjectStore } from '../../store/object-store.ts';
import { builtinTypes } from '../../store/resource.ts';

export const environmentSecretType = 'muster.dev/environment';

interface Secret extends AnyObject {
  type?: string;
  data?: Record<string, string>;
}

export function environmentSecrets(store: ObjectStore): GroupSecrets {
  return {
    get: async ({ metadata }, signal) => {
      const name = metadata.annotations?.[annotations.environmentSecret.name];
      if (name === undefined) return undefined;
      try {
        const secret = await store.get<Secret>(
          builtinTypes.secret,
          { namespace: metadata.namespace, name },
          signal,
        );
        return secret.type === environmentSecretType ? contentOf(secret) : undefined;
      } catch (error) {
        if (isStoreError(error, 'NotFound')) return undefined;
        throw error;
      }
    },
  };
}

function contentOf({ data = {} }: Secret): GroupSecret {
  const env = Object.entries(data).map(([name, value]) => ({
    name,
    value: Buffer.from(value, 'base64').toString('utf8'),
  }));
  return { env };
}
