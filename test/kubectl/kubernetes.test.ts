import { describeKubectl } from './scripts.ts';
import { startKubernetes } from './kubernetes.ts';

describeKubectl('Kubernetes', startKubernetes);
