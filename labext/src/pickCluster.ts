/** Which cluster a command is meant for: named by its arguments, under the context menu, or picked by the user. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { InputDialog } from '@jupyterlab/apputils';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import type { ClusterState, ICellspanModel, ICluster, Translations } from './tokens';

/** The arguments that `pickCluster` reads, for `describeArgs`. */
export function clusterArgs(trans: Translations) {
  return {
    cluster: {
      type: 'string',
      description: trans.__('The name of the cluster; asked for when there is none')
    },
    here: {
      type: 'boolean',
      description: trans.__('Take the cluster that the context menu was opened on')
    }
  } as const;
}

/** The name in the arguments, without asking anybody. */
export function namedCluster(
  app: JupyterFrontEnd,
  args: ReadonlyPartialJSONObject
): string | undefined {
  if (typeof args.cluster === 'string') {
    return args.cluster;
  }
  const isCard = (node: HTMLElement): boolean => node.dataset.cluster !== undefined;
  return args.here === true ? app.contextMenuHitTest(isCard)?.dataset.cluster : undefined;
}

/** The cluster that is meant, or undefined when the user gives up or there is none. */
export async function pickCluster(
  app: JupyterFrontEnd,
  model: ICellspanModel,
  args: ReadonlyPartialJSONObject,
  states: readonly ClusterState[],
  title: string
): Promise<ICluster | undefined> {
  const name = namedCluster(app, args);
  if (name !== undefined) {
    return model.find(name);
  }
  const fitting = model.clusters.filter(cluster => states.includes(cluster.state));
  if (fitting.length <= 1) {
    return fitting[0];
  }
  const picked = await InputDialog.getItem({ title, items: fitting.map(cluster => cluster.name) });
  return picked.button.accept && picked.value !== null ? model.find(picked.value) : undefined;
}
