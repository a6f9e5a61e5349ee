/** Sentences about a cluster that stand in more than one place. */
import { formatCount } from './format';
import type { ICluster, Lifetime, Translations } from './tokens';

export function stateText(cluster: ICluster, trans: Translations): string {
  switch (cluster.state) {
    case 'starting':
      return trans.__('Starting…');
    case 'stopping':
      return trans.__('Stopping…');
    case 'failed':
      return trans.__('Failed');
    case 'running':
      return cluster.answers ? trans.__('Running') : trans.__('Does not answer');
  }
}

/** How many tasks run. */
export function runningText(running: number, trans: Translations): string {
  // %1 is the bare number, which chooses singular or plural.
  return trans._n('%2 task running', '%2 tasks running', running, formatCount(running));
}

/** When it ends by itself, in a few words. */
export function lifetimeText(cluster: ICluster, trans: Translations): string {
  switch (cluster.lifetime) {
    case 'kernel':
      return trans.__('ends with its kernel');
    case 'server':
      return trans.__('ends with Jupyter');
    case 'detached': {
      const idle = cluster.idleTimeoutS;
      return idle === null
        ? trans.__('runs until stopped')
        : trans.__('ends if idle for %1 min', Math.max(1, Math.round(idle / 60)));
    }
  }
}

/** What the choices of the form mean, each in a line. */
export function lifetimeHelp(lifetime: Lifetime, trans: Translations): string {
  switch (lifetime) {
    case 'kernel':
      return trans.__('Ends with the kernel of the active notebook.');
    case 'server':
      return trans.__('Outlives kernels; ends when this Jupyter server ends.');
    case 'detached':
      return trans.__('Outlives Jupyter; ends when stopped, or unused for a while.');
  }
}
