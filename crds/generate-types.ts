// Makes crds/types.gen.ts from the CustomResourceDefinitions: one interface for each object in a schema,
// named by its path, one string union for each enum. It knows the part of OpenAPI that our schemas use and
// stops with an error at anything else, so that no field is ever typed by guess. Pure; generate.ts runs it.
import type { Definition, JsonSchema } from './definitions.ts';

const singular: Record<string, string> = {
  processes: 'Process',
  env: 'EnvVar',
  conditions: 'Condition',
  holds: 'Hold',
  rlimits: 'Rlimit',
  dependsOn: 'Dependency',
  placement: 'Placement',
  tolerations: 'Toleration',
  volumes: 'Volume',
  volumeMounts: 'VolumeMount',
  imagePullSecrets: 'ImagePullSecret',
  exitCodes: 'ExitCount',
  healthChecks: 'HealthCheck',
  sandboxes: 'Sandbox',
  disks: 'Disk',
  networks: 'Network',
  checks: 'Check',
  devices: 'Device',
  images: 'Image',
  moves: 'Move',
  raised: 'Raised',
  storages: 'Storage',
  sockets: 'Socket',
  transfers: 'Transfer',
};

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

function comment(text: string | undefined, indent: string): string {
  return text ? `${indent}/** ${text.replaceAll('*/', '* /')} */\n` : '';
}

export function typesOf(kind: string, root: JsonSchema): string {
  const out: string[] = [];

  function typeOf(schema: JsonSchema, name: string, field: string): string {
    if (schema['x-kubernetes-int-or-string']) return 'number | string';
    switch (schema.type) {
      case 'string':
        return schema.enum ? schema.enum.map((value) => `'${String(value)}'`).join(' | ') : 'string';
      case 'integer':
      case 'number':
        return 'number';
      case 'boolean':
        return 'boolean';
      case 'array': {
        if (!schema.items) throw new Error(`${name}: an array without items`);
        const element = typeOf(schema.items, itemName(name, field), field);
        return element.includes(' ') ? `(${element})[]` : `${element}[]`;
      }
      case 'object':
        if (schema.additionalProperties)
          return `Record<string, ${typeOf(schema.additionalProperties, name + 'Value', field)}>`;
        if (field === 'conditions') return 'Condition';
        object(schema, name);
        return name;
      default:
        throw new Error(`${name}: type ${String(schema.type)} is not known to the generator`);
    }
  }

  function itemName(name: string, field: string): string {
    const word = singular[field];
    if (word === undefined) return name;
    const owner = name.slice(0, name.length - capital(field).length);
    return owner + word;
  }

  function object(schema: JsonSchema, name: string): void {
    const slot = out.push('') - 1;
    let text = comment(schema.description, '') + `export interface ${name} {\n`;
    for (const [field, part] of Object.entries(schema.properties ?? {})) {
      const needed = schema.required?.includes(field) ?? false;
      const base = name === `${kind}Spec` || name === `${kind}Status` ? kind : name;
      const inStatus = name === `${kind}Status` && field === 'placement';
      const child = (inStatus ? `${kind}Status` : base) + capital(field);
      text += comment(part.description, '  ');
      text += `  ${field}${needed ? '' : '?'}: ${typeOf(part, child, field)};\n`;
    }
    out[slot] = text + '}\n';
  }

  object(root.properties!.spec!, `${kind}Spec`);
  object(root.properties!.status!, `${kind}Status`);
  out.push(
    comment(root.description, '') +
      `export interface ${kind} extends KubernetesObject<'${kind}'> {\n  spec: ${kind}Spec;\n  status?: ${kind}Status;\n}\n`,
  );
  return out.join('\n');
}

export function generateTypes(definitions: readonly Definition[]): string {
  const parts = [
    '// Generated from crds/*.yaml by crds/generate-types.ts. Do not edit: change the YAML and run `make generate`.\n' +
      "import type { Condition, KubernetesObject } from './objects.ts';\n",
    ...definitions.map((definition) => typesOf(definition.kind, definition.schema)),
  ];
  return parts.join('\n');
}
