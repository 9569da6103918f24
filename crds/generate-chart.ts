// The CustomResourceDefinitions as templates of the Helm chart: upgraded with a release, and kept when it is uninstalled, since
// with them all objects would go. Whatever a template engine would read as its own is escaped. Pure.
import { dump } from 'js-yaml';
import type { CrdManifest } from './definitions.ts';

const notice =
  '{{- /* Generated from crds/ by crds/generate-chart.ts. Do not edit: run `make generate`. */ -}}';

export function generateChart(manifests: readonly CrdManifest[]): Map<string, string> {
  return new Map(manifests.map((manifest) => [fileOf(manifest), templateOf(manifest)]));
}

const fileOf = ({ spec }: CrdManifest): string => `templates/crds/${spec.names.singular}.gen.yaml`;

function templateOf(manifest: CrdManifest): string {
  const { spec, ...top } = manifest as CrdManifest & { apiVersion: string; kind: string };
  const text = dump({ spec }, { lineWidth: 120, noRefs: true }).replaceAll('{{', "{{ '{{' }}");
  return `${notice}
{{- if .Values.crds.install }}
apiVersion: ${top.apiVersion}
kind: ${top.kind}
metadata:
  name: ${spec.names.plural}.${spec.group}
  labels:
    {{- include "muster.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
${text}{{- end }}
`;
}
